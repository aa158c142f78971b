"""The layer slider and the box for a reader's own image: live in Jupyter, static on the page.

The static twin is plain HTML: small pictures, native controls, a few lines of script. It needs no
kernel, no server and no request; it works from a file, by key and by mouse.
"""

import base64
import html
import io
import itertools
import json
import tempfile
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import ipywidgets
import matplotlib
import numpy as np
import pandas as pd
from IPython import get_ipython
from matplotlib.figure import Figure

from xraylib import images, metrics
from xraylib.images import data_uri
from xraylib.maps.checks import edge_maps, energy_inside
from xraylib.maps.equations import upscale
from xraylib.maps.explainer import Explainer, live_cells

HEAT_SIDE = 112  # pixels of an upscaled map: the browser's own smoothing does the rest
COARSEST = 7  # cells a side that a map should have to be shown first
FINEST_EXACT = 56  # cells a side up to which a picture without loss is the smaller one
STYLE = f"<style>{Path(__file__).with_name('slider.css').read_text('utf8')}</style>"
SCRIPT = Path(__file__).with_name("slider.js").read_text("utf8")


class Frame(NamedTuple):
    """What one position of the slider shows, pictures as data URIs."""

    cells: str  # a pixel a cell
    heat: str  # upscaled; "" where the cells are as fine
    caption: str
    dead: str = ""  # row by row 1 for each cell that reaches no score; "" where all do


def colour(heatmap: np.ndarray) -> np.ndarray:
    """Return values 0 to 1 (H, W) in the colours of inferno, uint8 (H, W, 3)."""
    return matplotlib.colormaps["inferno"](heatmap, bytes=True)[..., :3]


def draw_frame(cells: np.ndarray, caption: str, dead: np.ndarray | None = None) -> Frame:
    """Draw the cells of one map, as they are and upscaled, each normalised by its maximum.

    Cells are float (h, w), none below 0; those in `dead`, bool (h, w), reach no score and are
    hatched.
    """
    is_fine = min(cells.shape) >= HEAT_SIDE
    heat = "" if is_fine else data_uri(colour(upscale(cells, HEAT_SIDE)))
    picture = colour(upscale(cells, cells.shape))
    hatched = "" if dead is None or not dead.any() else "".join("01"[int(d)] for d in dead.ravel())
    exact = max(cells.shape) <= FINEST_EXACT
    return Frame(data_uri(picture, exact), heat, caption, hatched)


def outline(regions: dict) -> str:
    """Return the borders of regions, name -> mask bool (H, W), as the inside of an SVG.

    Each region is a path; an empty one has no border.
    """
    paths = []
    for name, mask in regions.items():
        how = cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_KCOS
        borders, _ = cv2.findContours(np.uint8(mask), *how)
        lines = ""
        for border in borders:
            corners = (border[:, 0] + 0.5) / len(mask)
            lines += "M" + "L".join(f"{x:.3f} {y:.3f}" for x, y in corners) + "z"
        paths.append(f'<path class="{html.escape(name)}" d="{lines}"/>')
    return "".join(paths)


def energy_text(cells: np.ndarray, edges: np.ndarray, regions: dict) -> str:
    """Say how much of a map's energy is inside regions, beside what its two floors have there.

    Cells are float (h, w), none below 0, not all of them 0; edges are those of `maps.edge_maps` for
    the same image, float32 (H, W); regions are name -> mask bool (H, W).
    """
    heat = upscale(cells, edges.shape)
    return "".join(
        f". Inside the {name}: {energy_inside(heat, mask):.0%} of the map's energy (a flat map has "
        f"{mask.mean():.0%} there, an edge detector {energy_inside(edges, mask):.0%})"
        for name, mask in regions.items()
        if mask.any()
    )


def panels(radiograph: str, frame: Frame, outlines: str = "") -> str:
    """Return the pictures, radiograph | true cells | overlay, with their caption and bar.

    The radiograph is a data URI; outlines, as of `outline`, are shown at once. A fourth picture,
    hidden, is for a map that the reader holds while the slider moves on.
    """
    ground = f'class="dark-light" src="{radiograph}"'
    side = int(len(frame.dead) ** 0.5)
    dead = [(k % side, k // side) for k, flag in enumerate(frame.dead) if flag == "1"]
    lines = "".join(
        f"M{x / side:.3f} {(y + 1) / side:.3f}L{(x + 1) / side:.3f} {y / side:.3f}" for x, y in dead
    )
    caption = html.escape(frame.caption)
    borders = f'<svg class="outline" viewBox="0 0 1 1" aria-hidden="true">{outlines}</svg>'
    return f"""<div class="panels">
<div class="panel film"><div class="stack"><img {ground} data-part="radiograph"
 alt="The radiograph">{borders}</div><span>radiograph</span></div>
<div class="panel cells"><div class="stack">
<img class="dark-light" src="{frame.cells}" data-part="cells" alt="True cells. {caption}">
<svg class="dead" data-part="dead" viewBox="0 0 1 1" aria-hidden="true"><path d="{lines}"/></svg>
</div><span>true cells</span></div>
<div class="panel"><div class="stack"><img {ground} data-part="ground" alt="">
<img class="dark-light" src="{frame.heat or frame.cells}" data-part="heat"
 alt="Overlay. {caption}">{borders}</div><span>overlay</span></div>
<div class="panel" data-part="held" hidden><div class="stack"></div><span></span></div>
</div>
<p data-part="caption" role="status" aria-live="polite">{caption}</p>
<div class="bar"><span>0</span><i></i><span>1, normalised per image</span></div>"""


def slider_page(radiographs, frames, names: dict, start: tuple, regions=()) -> str:
    """Return the slider as HTML that works by itself.

    Args:
        radiographs: data URIs.
        frames: position (image, method, class, layer), each counted from 0 -> `Frame`.
        names: `image`, `method`, `class` and `layer` -> the names to choose from.
        start: the position shown first.
        regions: for each image the regions that can be outlined, name -> mask bool (H, W).
    """
    page = {
        "radiographs": radiographs,
        "layers": names["layer"],
        "outlines": [outline(known) for known in regions],
        "frames": {"-".join(map(str, position)): frame for position, frame in frames.items()},
    }
    data = json.dumps(page).replace("</", "<\\/")  # or a name could end the script element
    image = radiographs[start[list(names).index("image")]]
    return f"""<div class="xray-slider">{STYLE}
{controls(names, start, list(dict.fromkeys(n for known in regions for n in known)))}
{panels(image, frames[start])}
<noscript><p>The slider needs JavaScript; without it this one map is shown.</p></noscript>
<script type="application/json">{data}</script>
<script>{SCRIPT}
xraySlider.fromPage(document.currentScript);</script>
</div>"""


def controls(names: dict, start: tuple, outlined=()) -> str:
    """Return the layer's range, with a tick for each block below it, and what else can be chosen.

    Names and start are as of `slider_page`; the regions named in `outlined` can be outlined.
    """
    first = dict(zip(names, start, strict=True))
    layers = names["layer"]
    blocks = Counter(name.split("_")[0].split(",")[0] for name in layers)
    ticks = "".join(f'<i style="flex:{n}">{html.escape(block)}</i>' for block, n in blocks.items())
    chosen = html.escape(layers[first["layer"]])
    choices = "".join(_select(name, names[name], first[name]) for name in _SELECTS)
    return f"""<div class="controls">
<label class="layer">Layer <span class="scale"><input type="range" data-part="layer" min="0"
 max="{len(layers) - 1}" step="1" value="{first["layer"]}" autocomplete="off"
 aria-label="Layer" aria-valuetext="{chosen}">
<span class="ticks" aria-hidden="true">{ticks}</span></span></label>
<output data-part="name" aria-hidden="true">{chosen}</output>
{choices}<span class="acts"><button type="button" data-part="play">Play</button>
<button type="button" data-part="hold" aria-pressed="false">Hold this map</button>
{_outline_switch(outlined)}<a data-part="here" hidden>Link to this map</a></span></div>"""


DASHED = ("marker",)  # outlines with dashes; the others are lines


def _outline_switch(names) -> str:
    """Return the box that shows the outlines, which says what is drawn how."""
    drawn = [f"{html.escape(n)} ({'dashes' if n in DASHED else 'line'})" for n in names]
    box = '<input type="checkbox" data-part="outline" autocomplete="off">'
    return f"<label>{box} Outline {' and '.join(drawn)}</label>\n" if drawn else ""


_SELECTS = {"class": "Class", "method": "Method", "image": "Image"}


def _select(name: str, options, chosen: int) -> str:
    """Return a labelled choice; one without an alternative is there for the script alone."""
    rows = "".join(
        f'<option value="{k}"{" selected" if k == chosen else ""}>{html.escape(option)}</option>'
        for k, option in enumerate(options)
    )
    hidden = " hidden" if len(options) == 1 else ""
    return (
        f"<label{hidden}>{_SELECTS[name]} "
        f'<select data-part="{name}" autocomplete="off">{rows}</select></label>\n'
    )


WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
METHOD_NAMES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "layer_cam": "Layer-CAM",
    "hires_cam": "HiResCAM",
    "score_cam": "Score-CAM",
}
WARNING = (
    "This is teaching material, not a diagnosis. The network has been tested on no clinic's "
    "patients, and it gives an answer for any picture, even one of a cat."
)
LIVE_ONLY = (
    'For an image of your own there is a <a class="reference internal" '
    'href="../own_radiograph.html">page that computes in your browser</a>. The box that belongs '
    "here asks the network of this chapter and needs a running kernel: open the chapter in Jupyter "
    "or Colab."
)


def layer_slider(
    model,
    radiographs,
    titles=None,
    layers=None,
    methods=("grad_cam", "grad_cam_plus_plus", "layer_cam"),
    start=None,
    class_names=None,
    regions=None,
) -> "LayerSlider":
    """Return a slider through the layers of a model, for any class and method.

    In Jupyter and Colab it computes what is asked for; on a page without a kernel it shows
    pictures made beforehand, about 0.5 MB for one image, 15 layers, 3 classes and 3 methods.

    Args:
        model: as `Explainer` takes, or an `Explainer`.
        radiographs: a list of images uint8 (H, W), or (H, W, 3) for a model that takes colour, of
            any size; or one image.
        titles: a name for each image.
        layers: names of layers with maps; the convolutions without.
        methods: some of `maps.METHODS`; each `score_cam` map costs 64 passes.
        start: the layer, class and method shown first, such as `{"layer": "block5_conv3"}`; the
            last layer of 7 x 7 cells or more and the class that the model calls without.
        class_names: as in `Explainer`.
        regions: for each image what is known of it, name -> mask bool (H, W), such as that of
            `known_regions`: can be outlined, and the caption says how much of the map's energy is
            inside, beside two floors.

    Raises:
        ValueError: no image, or one that is no such array; too few or too many titles or regions;
            a layer, class, method or key of `start` that there is not.
    """
    explainer = _explainer(model, class_names)
    return LayerSlider(explainer, radiographs, titles, layers, methods, start or {}, regions)


def _explainer(model, class_names) -> Explainer:
    if not isinstance(model, Explainer):
        return Explainer(model, class_names)
    return model if class_names is None else Explainer(model.model, class_names)


def _as_images(radiographs, explainer: Explainer) -> np.ndarray:
    """Return one or several images as one array in the size that a model takes."""
    if isinstance(radiographs, np.ndarray) and radiographs.ndim < 4:
        one_of_colour = radiographs.ndim == 3 and radiographs.shape[-1] in (3, 4)
        radiographs = [radiographs] if radiographs.ndim == 2 or one_of_colour else radiographs
    if len(radiographs) == 0:
        raise ValueError("no image to explain: give at least one")
    resized = []
    for number, image in enumerate(radiographs, start=1):
        image = np.asarray(image)
        colour = image.ndim == 3 and image.shape[-1] == explainer.channels == 3
        if image.dtype != np.uint8 or not (image.ndim == 2 or colour):
            wanted = "(H, W)" if explainer.channels == 1 else "(H, W) or (H, W, 3)"
            raise ValueError(
                f"image {number} is {image.dtype} {image.shape}: give uint8 {wanted}, grey values "
                "0 to 255, as images.read_grey does"
            )
        image = images.resize(image, explainer.size[0])
        grey_for_colour = image.ndim == 2 and explainer.channels == 3
        resized.append(np.dstack([image] * 3) if grey_for_colour else image)
    return np.stack(resized)


class LayerSlider:
    """See `layer_slider`. Displaying it gives a widget, its `text/html` twin, and a picture."""

    def __init__(self, explainer: Explainer, radiographs, titles, layers, methods, start, regions):
        self.explainer = explainer
        self.images = _as_images(radiographs, explainer)
        self.layers = list(layers or self.explainer.layers)
        self.methods = list(methods)
        self.probs = self.explainer.probs(self.images)
        self._known, self._dead_cells = {}, {}  # cells by image, method and layer; by layer
        names = titles or [f"image {k + 1}" for k in range(len(self.images))]
        if len(names) != len(self.images):
            raise ValueError(f"{len(names)} titles for {len(self.images)} images: name each once")
        if regions is not None and len(regions) != len(self.images):
            raise ValueError(
                f"{len(regions)} regions for {len(self.images)} images: give a dictionary for each"
            )
        side = explainer.size[0]
        self.regions = [
            {name: images.resize(mask, side) for name, mask in known.items()}
            for known in regions or [{}] * len(self.images)
        ]
        classes = list(explainer.class_names)
        self.names = {"image": list(names), "method": self.methods, "class": classes}
        choices = self.names | {"layer": self.layers}
        sides = [self.cells(0, 0, layer).shape[-2:] for layer in range(len(self.layers))]
        fine = [
            name for name, side in zip(self.layers, sides, strict=True) if min(side) >= COARSEST
        ]
        unknown = set(start) - set(choices)
        if unknown:
            wrong, right = ", ".join(map(repr, unknown)), ", ".join(choices)
            raise ValueError(f"start names {wrong}: it can name {right}")
        first = {"layer": (fine or self.layers)[-1], "class": classes[self.probs[0].argmax()]}
        self.start = tuple(_place(first | start, name, opts) for name, opts in choices.items())
        self.names["method"] = [METHOD_NAMES[method] for method in self.methods]
        self.names["layer"] = [
            f"{name}, {h} x {w} cells" for name, (h, w) in zip(self.layers, sides, strict=True)
        ]

    def cells(self, image: int, method: int, layer: int) -> np.ndarray:
        """Return the cells (classes, h, w) of one image; what one pass gives is kept."""
        method, layer = self.methods[method], self.layers[layer]
        asked = [layer] if method == "score_cam" else self.layers
        if (image, method, layer) not in self._known:
            cells_of = self.explainer.explain(self.images[image][None], None, asked, method)
            self._known |= {(image, method, name): cells_of[name][0] for name in asked}
        return self._known[image, method, layer]

    def frame(self, position: tuple[int, int, int, int]) -> Frame:
        """Draw the frame of a position: image, method, class and layer, each counted from 0."""
        image, method, asked, layer = position
        names = [options[k] for options, k in zip(self.names.values(), position, strict=True)]
        cells = self.cells(image, method, layer)[asked]
        caption = (
            f"{names[3]}: {names[1]} for {names[2]}, "
            f"whose probability is {self.probs[image, asked]:.2f}"
        )
        if cells.any():
            caption += energy_text(cells, self.edges[image], self.regions[image])
        else:
            caption += ". Nothing at this layer speaks for the class"
        return draw_frame(cells, caption, self._dead(layer))

    def _dead(self, layer: int) -> np.ndarray:
        """Return the cells of a layer that reach no score, which a pool left out; bool (h, w)."""
        if layer not in self._dead_cells:
            few = self.cells(0, 0, layer).shape[-1] < COARSEST
            live = live_cells(self.explainer, self.layers[layer]) if few else True
            self._dead_cells[layer] = ~np.broadcast_to(live, self.cells(0, 0, layer).shape[-2:])
        return self._dead_cells[layer]

    @cached_property
    def edges(self) -> np.ndarray:
        """The floor of an edge detector for each image, float32 (N, H, W)."""
        grey = [image if image.ndim == 2 else image.mean(axis=-1) for image in self.images]
        return edge_maps(grey)

    @cached_property
    def radiographs(self) -> list[str]:
        return [data_uri(image) for image in self.images]

    @cached_property
    def html(self) -> str:
        """The twin: every frame, drawn beforehand."""
        positions = itertools.product(*(range(len(options)) for options in self.names.values()))
        frames = {position: self.frame(position) for position in positions}
        return slider_page(self.radiographs, frames, self.names, self.start, self.regions)

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
        play = ipywidgets.Play(max=len(self.layers) - 1, interval=900)
        ipywidgets.jslink((play, "value"), (controls["layer"], "index"))
        outlined = ipywidgets.Checkbox(value=False, description="Outline what is known")
        figure = ipywidgets.HTML()

        def show(_=None):
            position = tuple(control.value for control in controls.values())
            borders = outline(self.regions[position[0]]) if outlined.value else ""
            shown = panels(self.radiographs[position[0]], self.frame(position), borders)
            figure.value = f'<div class="xray-slider">{STYLE}{shown}</div>'

        for control in [*controls.values(), outlined]:
            control.observe(show, "value")
        show()
        order = [n for n in ("layer", "class", "method", "image") if len(self.names[n]) > 1]
        more = [play, outlined] if any(self.regions) else [play]
        return ipywidgets.VBox([*(controls[name] for name in order), *more, figure])

    @property
    def picture(self) -> str:
        """The frame shown first as a picture for print, PNG in base64."""
        image, method, asked, layer = self.start
        cells = self.cells(image, method, layer)[asked]
        ground = self.images[image]
        ground = ground if ground.ndim == 3 else np.dstack([ground] * 3)
        heat = colour(upscale(cells, self.explainer.size))
        shown = {
            "radiograph": ground,
            "true cells": colour(upscale(cells, cells.shape)),
            "overlay": 1 - (1 - heat / 255) * (1 - ground / 255),  # light is added, as on the page
        }
        figure = Figure(figsize=(7.5, 2.9), layout="constrained")
        figure.suptitle(self.frame(self.start).caption, wrap=True, fontsize=10)
        axes = figure.subplots(1, 3)
        for axis, (name, picture) in zip(axes, shown.items(), strict=True):
            axis.imshow(picture)
            axis.set_title(name, fontsize=9)
            axis.axis("off")
        for y, x in np.argwhere(self._dead(layer)):
            axes[1].plot([x - 0.5, x + 0.5], [y + 0.5, y - 0.5], color="white", linewidth=0.7)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        return base64.b64encode(buffer.getvalue()).decode()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return bundle(self, "layer slider") | {"image/png": self.picture}


def _place(start: dict, name: str, options: list) -> int:
    """Return the position of what is to be shown first; the first one without a wish."""
    if name in start and start[name] not in options:
        raise ValueError(f"no {name} {start[name]!r} to start with: choose one of {options}")
    return options.index(start[name]) if name in start else 0


def upload_box(model, confusion=None, layer="block5_conv3", class_names=None) -> "UploadBox":
    """Return a box that takes a reader's own radiograph; on the page it says how to use it.

    Args:
        model: as `Explainer` takes, trained on whole radiographs, or an `Explainer`.
        confusion: counts (C, C) of its test images, rows true: tells how often it is right when
            it calls a class.
        layer: name of the layer whose map is shown; the model's `default_layer` where it has none
            of that name.
        class_names: as in `Explainer`.
    """
    return UploadBox(_explainer(model, class_names), confusion, layer)


class UploadBox:
    """See `upload_box`."""

    html = (
        f'<div class="xray-slider">{STYLE}<p>{LIVE_ONLY}</p><p><strong>{WARNING}</strong></p></div>'
    )

    def __init__(self, explainer: Explainer, confusion, layer):
        self.explainer, self.confusion = explainer, confusion
        self.layer = layer if layer in explainer.map_layers else explainer.default_layer
        shape = None if confusion is None else np.shape(confusion)
        if shape not in (None, (explainer.n_classes, explainer.n_classes)):
            raise ValueError(f"confusion {shape} for {explainer.n_classes} classes: give (C, C)")

    @cached_property
    def widget(self) -> ipywidgets.Box:
        """The live box: a button, and below it the answer."""
        button = ipywidgets.FileUpload(
            accept=".png,.jpg,.jpeg,.jfif,.dcm", multiple=False, description="Radiograph"
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
                image = images.read_grey(path)
            except images.ImageError as error:
                reason = html.escape(f"{name}: {error.reason}")
                return f'<p role="alert">{reason}. Choose a PNG or JPEG file.</p>'
        batch = _as_images([image], self.explainer)
        probs = self.explainer.probs(batch)[0]
        called = int(probs.argmax())
        cells = self.explainer.explain(batch, [called], [self.layer])[self.layer][0, 0]
        class_names = self.explainer.class_names
        frame = draw_frame(cells, f"{self.layer}: Grad-CAM for {class_names[called]}")
        table = pd.DataFrame({"class": class_names, "probability": probs.round(3)})
        flag = images.flag_image(image)
        doubt = f"The image is doubtful: {flag}. " if flag else ""
        return (
            f"<p><strong>{html.escape(name)}</strong>: {html.escape(str(class_names[called]))}. "
            f"{doubt}{self._record(called)}</p>{table.to_html(index=False)}"
            f'<div class="xray-slider">{STYLE}'
            f"{panels(data_uri(batch[0]), frame)}</div><p><strong>{WARNING}</strong></p>"
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
    """Return what a notebook may choose from: its twin, and the widget where a reader is there.

    A program that runs a notebook cannot be asked for input, and what it writes has no kernel.
    """
    data = {"text/plain": text, "text/html": shown.html}
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is not None and kernel.get_parent().get("content", {}).get("allow_stdin"):
        view = {"version_major": 2, "version_minor": 0, "model_id": shown.widget.model_id}
        data[WIDGET_VIEW] = view
    return data
