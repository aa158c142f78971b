"""All layers and classes of one image: time and agreement with tf-keras-vis.

Run it with `python tests/benchmarks/bench_gradcam.py`. Without tf-keras-vis in this environment
(`pip install "xraylib-book[bench]"`), it makes a small one beside the book's data and runs there.
"""

import os
import subprocess
import sys
import time
import venv
from importlib.util import find_spec

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("PYTHONWARNINGS", "ignore")  # tf-keras-vis uses old names of SciPy

import keras
import numpy as np

from xraylib import config, images, maps, network, phantoms

RIVAL = "tf-keras-vis==0.8.7"
GOALS = {"correlation": 0.99, "speed": 5.0}


def main() -> None:
    """Print how much faster the maps come, and how well they agree."""
    if find_spec("tf_keras_vis") is None:
        sys.exit(subprocess.run([rival_python(), __file__]).returncode)
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus

    keras.utils.set_random_seed(0)
    model = network.build_classifier("vgg16")
    image = images.resize(phantoms.make_phantom(2, 0).image, config.IMAGE_SIZE)
    explainer = maps.Explainer(model)
    for method, rival in {"grad_cam": Gradcam, "grad_cam_plus_plus": GradcamPlusPlus}.items():
        explainer.explain(image, method=method)  # the first call compiles
        before, ours = timed(explainer.explain, image, method=method)
        slow, theirs = timed(rival_maps, rival(model), explainer, image)
        after, _ = timed(explainer.explain, image, method=method)
        report(method, ours, theirs, max(before, after), slow)  # a shared machine's mood swings


def timed(work, *args, **settings):
    """Return the seconds that a piece of work took, and its result."""
    start = time.perf_counter()
    result = work(*args, **settings)
    return time.perf_counter() - start, result


def rival_maps(rival, explainer, image) -> dict:
    """Ask tf-keras-vis layer by layer, class by class; cells (1, C, h, w) by layer."""
    seed = np.float32(image)[None, ..., None]

    def ask(layer, class_id):
        return rival(
            lambda scores: scores[:, class_id],
            seed,
            penultimate_layer=layer,
            expand_cam=False,
        )

    classes = range(explainer.n_classes)
    return {
        layer: np.stack([np.asarray(ask(layer, c)) for c in classes], axis=1)
        for layer in explainer.layers
    }


def report(method: str, ours: dict, theirs: dict, fast: float, slow: float) -> None:
    """Print the correlation at every layer, and the ratio of the times in seconds."""
    print(f"\n{method}: correlation of the cells, one figure a class")
    every = []
    for layer, cells in ours.items():
        found = [correlation(a, b) for a, b in zip(cells[0], theirs[layer][0], strict=True)]
        every += found
        print(f"  {layer:13}" + "".join(f"{r:10.6f}" for r in found))
    goal = f"goal: at least {GOALS['correlation']}"
    print(f"  lowest correlation {np.nanmin(every):.6f} ({goal})")
    if np.isnan(every).any():
        print(f"  {np.isnan(every).sum()} maps of tf-keras-vis are NaN and left out")
    n_maps = sum(cells.shape[1] for cells in ours.values())
    print(
        f"  {n_maps} maps of one image: {fast:.2f} s, tf-keras-vis {slow:.2f} s: "
        f"{slow / fast:.1f} times as fast (goal: {GOALS['speed']:g})"
    )


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation; two flat maps agree; NaN only where the other map is NaN."""
    assert np.isfinite(one).all()
    if np.isnan(other).any():
        return float("nan")
    if one.std() == 0 or other.std() == 0:
        return float(one.std() == other.std())
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def rival_python() -> str:
    """Return the Python of a small environment that adds tf-keras-vis to this one."""
    folder = config.home("bench") / RIVAL.replace("==", "-")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "ready").exists():
        print(f"installing {RIVAL} into {folder}")
        venv.create(folder, with_pip=True, clear=True)
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        there = subprocess.check_output([python, "-c", ask], text=True).strip()
        with open(os.path.join(there, "book.pth"), "w") as link:
            # addsitedir and not the bare path, or links to packages in it would not be followed
            sites = [path for path in sys.path if path.endswith("-packages")]
            link.writelines(f"import site; site.addsitedir({path!r})\n" for path in sites)
        subprocess.run([python, "-m", "pip", "install", "--quiet", RIVAL], check=True)
        (folder / "ready").touch()
    return str(python)


if __name__ == "__main__":
    main()
