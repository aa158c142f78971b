"""Probabilities for a folder of radiographs: `python -m xraylib.predict FOLDER [--maps OUT]`.

Writes one CSV row a file on standard output: file, normal, pneumonia, COVID-19, answer, flag,
error. The answer is the likeliest class, or "none of these" where an image is unlike all that
taught the classifier. It comes fitted with the package; chapter 5.3 says how often such calls were
right in hospitals that had been left out. For teaching and research, never for diagnosis.
"""

import argparse
import contextlib
import sys
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from xraylib import files, images, lungs, maps, studies
from xraylib.config import CLASS_NAMES
from xraylib.images import ImageError
from xraylib.images.reading import NO_IMAGE, say_left_out

COLUMNS = ("file", *CLASS_NAMES, "answer", "flag", "error")
WARNING = "xraylib is for teaching and research, never for diagnosis"
BATCH = 8
OPACITY = 0.45  # of a map at its highest, over the radiograph


class Predictor:
    """The classifier for unseen hospitals with the U-Net that finds the lungs.

    Attributes:
        head: its answers and a distance, see `studies.Head`.
        views: what the network sees of a radiograph, name -> `images.Preprocessing`.

    Raises:
        PretrainedError, WeightsError: weights of the package or of VGG16 are not to be had.
    """

    def __init__(self, head: "studies.Head | None" = None):  # quoted: no TensorFlow yet
        self.head = head or studies.load_shipped()
        self.views = {name: studies.VIEWS[name] for name in studies.SHIPPED.views}
        self.unet = lungs.load_unet("real", "in")
        self._explainers = {}  # built when a map is asked for

    def look(self, pictures: list[np.ndarray]) -> tuple[dict, list[np.ndarray]]:
        """Return each view of images, name -> uint8 (B, size, size), and the lungs' masks."""
        masks = [studies.usable_mask(m) for m in lungs.segment_images(self.unet, pictures)]
        pairs = list(zip(pictures, masks, strict=True))
        seen = {n: np.stack([v.apply(*pair) for pair in pairs]) for n, v in self.views.items()}
        return seen, masks

    def answer(self, seen: dict) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (B, 3), and which images are unlike all classes, bool (B,)."""
        described = {name: studies.describe(views) for name, views in seen.items()}
        features = studies.SHIPPED.look(described)
        return self.head.probs(features), self.head.is_unlike(features)

    def heatmap(self, seen: dict, mask: np.ndarray, class_id: int) -> np.ndarray:
        """Return Grad-CAM of a class at the last convolution, added up over the views.

        The views of one image are name -> uint8 (size, size), its lungs bool (H, W); the map is
        float32 (H, W), 0 to 1.
        """
        if not self._explainers:
            models = studies.build_models(self.head)
            self._explainers = {name: maps.Explainer(model) for name, model in models.items()}
        total = np.zeros(mask.shape, np.float32)
        for name, explainer in self._explainers.items():
            last = explainer.layers[-1]
            cells = explainer.explain(seen[name], [class_id], [last])[last][0, 0]
            total += self.views[name].place(np.maximum(cells, 0), mask)
        return total / max(total.max(), 1e-9)


def predict_folder(folder, maps=None) -> pd.DataFrame:
    """Predict every file of a folder and of the folders in it.

    Args:
        folder: a folder with radiographs; whatever is no image gets a row that says so.
        maps: a folder for overlays of Grad-CAM maps of the likeliest class, one PNG an image
            under the image's own name and folders; made if missing. Without, no maps.

    Returns:
        one row per file: file (relative to the folder), a probability for each class (NaN for a bad
        file), answer, a class or `studies.NONE` ("" for a bad file), flag, what makes the image
        doubtful (see `images.flag_image`), and error, why it could not be predicted, or "".
        Masks and files of the system get no row; a line on standard error counts them.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder, nothing in it, or it is a file.
        ValueError: the maps would lie among the images.
        PretrainedError, WeightsError: see `Predictor`.
    """
    folder = files.check_folder(folder)
    if maps is not None and Path(maps).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{maps}: maps would be taken for images; name a folder outside {folder}")
    found = images.find_images(folder)
    paths = sorted(found.images + found.others)
    if not paths:
        raise FileNotFoundError(f"{folder}: {NO_IMAGE}")
    predictor = Predictor()
    print(say_left_out(found.left_out), file=sys.stderr)
    rows = []
    with tqdm(total=len(paths), desc="predictions", unit=" files") as bar:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            rows += _predict_batch(predictor, folder, batch, maps)
            bar.update(len(batch))
    return pd.DataFrame(rows, columns=COLUMNS)


def _predict_batch(predictor: Predictor, folder: Path, paths: list[Path], maps) -> list[dict]:
    pictures, errors = {}, {}
    for path in paths:
        try:
            pictures[path] = images.read_radiograph(path)
        except (ImageError, OSError) as error:
            errors[path] = str(error)
    results = {}
    if pictures:
        seen, masks = predictor.look(list(pictures.values()))
        results = dict(zip(pictures, zip(*predictor.answer(seen), strict=True), strict=True))
        for number, path in enumerate(pictures if maps else ()):
            own = {name: views[number] for name, views in seen.items()}
            heatmap = predictor.heatmap(own, masks[number], int(results[path][0].argmax()))
            write_overlay(Path(maps) / f"{path.relative_to(folder)}.png", pictures[path], heatmap)
    flags = {path: images.flag_image(picture) for path, picture in pictures.items()}
    return [
        _row(path.relative_to(folder), results.get(path), flags.get(path), errors.get(path))
        for path in paths
    ]


def _row(file: Path, result, flag, error) -> dict:
    probs, unlike = result or (np.full(len(CLASS_NAMES), np.nan), False)
    answer = "" if result is None else studies.NONE if unlike else CLASS_NAMES[int(probs.argmax())]
    shares = dict(zip(CLASS_NAMES, probs, strict=True))
    name, error = files.as_utf8(file.as_posix()), files.as_utf8(error or "")
    return {"file": name, **shares, "answer": answer, "flag": flag or "", "error": error}


def write_overlay(path: Path, image: np.ndarray, heatmap: np.ndarray) -> None:
    """Write a radiograph, uint8 (H, W), with a map float32 (H, W), 0 to 1, over it as colour PNG.

    The map is coloured by `inferno`, and clear where it is 0. The folders of the PNG are made.
    """
    colour = 255 * mpl.colormaps["inferno"](heatmap)[..., 2::-1]  # OpenCV: blue first
    opacity = OPACITY * heatmap[..., None]
    overlay = (1 - opacity) * image[..., None] + opacity * colour
    content = cv2.imencode(".png", overlay.round().astype(np.uint8))[1]
    with files.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, content.tobytes())


def main(arguments=None) -> int:
    """Run the command; returns 0 if at least one image was predicted, else 1."""
    parser = argparse.ArgumentParser(prog="python -m xraylib.predict", description=__doc__)
    parser.add_argument("folder", type=Path, help="with radiographs, also in folders below")
    parser.add_argument("--maps", type=Path, metavar="OUT", help="folder for Grad-CAM overlays")
    options = parser.parse_args(arguments)
    print(WARNING, file=sys.stderr)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the CSV alone goes to standard output
            table = predict_folder(options.folder, options.maps)
    except (OSError, ValueError) as error:
        print(f"error: {files.as_utf8(error)}", file=sys.stderr)
        return 1
    table.to_csv(sys.stdout, index=False, float_format="%.4f", lineterminator="\n")
    return int(not (table.error == "").any())


if __name__ == "__main__":
    files.run_command(main)
