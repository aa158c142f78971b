"""The layer slider, live in Jupyter and static on the page, and a box for a reader's own image."""

import html
import itertools
import tempfile
from functools import cached_property
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
from IPython import get_ipython

from xraylib import images, metrics
from xraylib import slider_html as pages
from xraylib.config import CLASS_NAMES
from xraylib.gradcam import FORMULAS, Explainer

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METHOD_NAMES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "Layer-CAM",
    "score_cam": "Score-CAM",
}
WARNING = (
    "This is teaching material, not a diagnosis. The network has been tested on no clinic's "
    "patients, and it gives an answer for any picture, even one of a cat."
)
LIVE_ONLY = (
    "Here stands a box for an image of your own. It needs a running kernel: open this chapter in "
    "Jupyter or Colab."
)


def layer_slider(
    model, radiographs, titles=None, layers=None, methods=tuple(FORMULAS), start=None
) -> "LayerSlider":
    """Return a slider through the layers of a model, for any class and method.

    In Jupyter and Colab it computes what is asked for; on a page without a kernel it shows
    pictures made beforehand, about 0.5 MB for one image, 15 layers, 3 classes and 3 methods.

    Args:
        model: as `Explainer` takes, or an `Explainer`.
        radiographs: uint8 (H, W) each, of any size.
        titles: names of the images.
        layers: names of convolutions; all without.
        methods: of `gradcam.METHODS`; each `score_cam` map costs 64 passes.
        start: the layer, class and method shown first, such as `{"layer": "block5_conv3"}`; the
            last layer and the class that the model calls without.

    Raises:
        ValueError: no image; a layer, class or method that there is not.
    """
    return LayerSlider(model, radiographs, titles, layers, methods, start or {})


class LayerSlider:
    """See `layer_slider`. Displaying it gives a widget and its `text/html` twin."""

    def __init__(self, model, radiographs, titles, layers, methods, start):
        if len(radiographs) == 0:
            raise ValueError("no image to explain: give at least one")
        self.explainer = model if isinstance(model, Explainer) else Explainer(model)
        size = self.explainer.model.input_shape[1]
        self.images = np.stack([images.resize(np.asarray(im), size) for im in radiographs])
        self.layers = list(layers or self.explainer.layers)
        self.methods = list(methods)
        self.probs = self.explainer.probs(self.images)
        self._known = {}  # cells by image, method and layer
        names = titles or [f"image {k + 1}" for k in range(len(self.images))]
        self.names = {"image": list(names), "method": self.methods, "class": list(CLASS_NAMES)}
        choices = self.names | {"layer": self.layers}
        start = {"layer": self.layers[-1], "class": CLASS_NAMES[self.probs[0].argmax()]} | start
        self.start = tuple(_place(start, name, options) for name, options in choices.items())
        sides = [self.cells(0, 0, layer).shape[-2:] for layer in range(len(self.layers))]
        self.names["method"] = [METHOD_NAMES[method] for method in self.methods]
        self.names["layer"] = [
            f"{name}, {h} x {w} cells" for name, (h, w) in zip(self.layers, sides, strict=True)
        ]

    def cells(self, image: int, method: int, layer: int) -> np.ndarray:
        """Return the cells (classes, h, w) of one image; what one pass gives is kept."""
        method, layer = self.methods[method], self.layers[layer]
        asked = [layer] if method == "score_cam" else self.layers
        if (image, method, layer) not in self._known:
            found = self.explainer.explain(self.images[image], None, asked, method)
            self._known |= {(image, method, name): found[name][0] for name in asked}
        return self._known[image, method, layer]

    def frame(self, position: tuple[int, int, int, int]) -> pages.Frame:
        """Draw the frame of a position: image, method, class and layer, each counted from 0."""
        image, method, asked, layer = position
        names = [options[k] for options, k in zip(self.names.values(), position, strict=True)]
        cells = self.cells(image, method, layer)[asked]
        caption = (
            f"{names[3]}: {names[1]} for {names[2]}, "
            f"whose probability is {self.probs[image, asked]:.2f}"
        )
        empty = "" if cells.any() else ". Nothing at this layer speaks for the class"
        return pages.draw_frame(cells, caption + empty)

    @cached_property
    def radiographs(self) -> list[str]:
        return [pages.data_uri(image) for image in self.images]

    @cached_property
    def html(self) -> str:
        """The twin: every frame, drawn beforehand."""
        positions = itertools.product(*(range(len(options)) for options in self.names.values()))
        frames = {position: self.frame(position) for position in positions}
        return pages.slider_page(self.radiographs, frames, self.names, self.start)

    @cached_property
    def widget(self) -> ipywidgets.Box:
        """The live one."""
        wide = ipywidgets.Layout(width="95%", max_width="46rem")
        controls = {}
        for (name, options), first in zip(self.names.items(), self.start, strict=True):
            kind = ipywidgets.SelectionSlider if name == "layer" else ipywidgets.Dropdown
            rows = [(option, k) for k, option in enumerate(options)]
            controls[name] = kind(options=rows, value=first, description=name.capitalize())
        controls["layer"].layout = wide
        figure = ipywidgets.HTML()

        def show(_=None):
            position = tuple(control.value for control in controls.values())
            shown = pages.panels(self.radiographs[position[0]], self.frame(position))
            figure.value = f'<div class="xray-slider">{pages.style()}{shown}</div>'

        for control in controls.values():
            control.observe(show, "value")
        show()
        order = [n for n in ("layer", "class", "method", "image") if len(self.names[n]) > 1]
        return ipywidgets.VBox([*(controls[name] for name in order), figure])

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return bundle(self, "layer slider")


def _place(start: dict, name: str, options: list) -> int:
    """Return the position of what is to be shown first; the first one without a wish."""
    if name in start and start[name] not in options:
        raise ValueError(f"no {name} {start[name]!r} to start with: choose one of {options}")
    return options.index(start[name]) if name in start else 0


def upload_box(model, confusion=None, layer: str = "block5_conv3") -> "UploadBox":
    """Return a box that takes a reader's own radiograph; on the page it says how to use it.

    Args:
        model: as `Explainer` takes, trained on whole radiographs, or an `Explainer`.
        confusion: counts (3, 3) of its test images, rows true: tells how often it is right when
            it calls a class.
        layer: name of the convolution whose map is shown.
    """
    return UploadBox(model, confusion, layer)


class UploadBox:
    """See `upload_box`."""

    html = (
        f'<div class="xray-slider">{pages.style()}<p>{LIVE_ONLY}</p>'
        f"<p><strong>{WARNING}</strong></p></div>"
    )

    def __init__(self, model, confusion, layer):
        self.explainer = model if isinstance(model, Explainer) else Explainer(model)
        self.confusion, self.layer = confusion, layer

    @cached_property
    def widget(self) -> ipywidgets.Box:
        """The live box: a button, and below it the answer."""
        button = ipywidgets.FileUpload(
            accept=".png,.jpg,.jpeg", multiple=False, description="Radiograph"
        )
        answer = ipywidgets.HTML(f"<p><strong>{WARNING}</strong></p>")

        def show(change):
            for name, content in uploaded(change["new"]):
                answer.value = "<p>Computing ...</p>"
                answer.value = self.answer(name, content)

        button.observe(show, "value")
        return ipywidgets.VBox([button, answer])

    def answer(self, name: str, content: bytes) -> str:
        """Return what can be said of a file, or why it cannot be read, as HTML."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "upload"
            path.write_bytes(content)
            try:
                image = images.resize(images.read_grey(path), self.explainer.model.input_shape[1])
            except images.ImageError as error:
                reason = html.escape(f"{name}: {error.reason}")
                return f'<p role="alert">{reason}. Choose a PNG or JPEG file.</p>'
        probs = self.explainer.probs(image)[0]
        called = int(probs.argmax())
        cells = self.explainer.explain(image, [called], [self.layer])[self.layer][0, 0]
        frame = pages.draw_frame(cells, f"{self.layer}: Grad-CAM for {CLASS_NAMES[called]}")
        table = pd.DataFrame({"class": CLASS_NAMES, "probability": probs.round(3)})
        return (
            f"<p><strong>{html.escape(name)}</strong>: {CLASS_NAMES[called]}. "
            f"{self._record(called)}</p>{table.to_html(index=False)}"
            f'<div class="xray-slider">{pages.style()}'
            f"{pages.panels(pages.data_uri(image), frame)}</div><p><strong>{WARNING}</strong></p>"
        )

    def _record(self, called: int) -> str:
        """Say how often the network was right when it called this class."""
        if self.confusion is None:
            return ""
        column = np.asarray(self.confusion)[:, called]
        right, n = int(column[called]), int(column.sum())
        if n == 0:
            return "It called no test image so."
        low, high = metrics.wilson_interval(right, n)
        return (
            f"Of the {n} test images that it called so, {right / n:.0%} were "
            f"(95 % interval {low:.0%} to {high:.0%}); yours may be of another kind."
        )

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return bundle(self, "upload box")


def uploaded(value) -> list[tuple[str, bytes]]:
    """Return names and contents of uploaded files: a dict by name (ipywidgets 7) or a tuple (8)."""
    if isinstance(value, dict):
        return [(name, bytes(file["content"])) for name, file in value.items()]
    return [(file["name"], bytes(file["content"])) for file in value]


def bundle(shown, text: str) -> dict:
    """Return what a notebook may choose from: the widget where a kernel runs, and its twin."""
    data = {"text/plain": text, "text/html": shown.html}
    if getattr(get_ipython(), "kernel", None) is not None:
        view = {"version_major": 2, "version_minor": 0, "model_id": shown.widget.model_id}
        data[WIDGET_VIEW] = view
    return data
