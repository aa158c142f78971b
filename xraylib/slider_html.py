"""The layer slider as plain HTML: small pictures, native controls, a few lines of script.

It needs no kernel, no server and no request; it works from a file, by key and by mouse.
"""

import base64
import html
import io
import json
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image

from xraylib.cams import upscale

QUALITY = 80  # of lossy WebP: a radiograph of 224 px takes about 7 KB
HEAT_SIDE = 112  # pixels of an upscaled map: the browser's own smoothing does the rest
FINEST_EXACT = 56  # cells a side up to which a picture without loss is the smaller one

STYLE = """
.xray-slider { max-width: 46rem; margin: 1rem 0; color: inherit; }
.xray-slider .controls { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; align-items: center; }
.xray-slider label { display: inline-flex; gap: .5rem; align-items: center; }
.xray-slider label[hidden] { display: none; }
.xray-slider label.layer { flex: 1 1 100%; }
.xray-slider input[type=range] { flex: 1; min-width: 8rem; min-height: 1.6rem; }
.xray-slider select { font: inherit; }
.xray-slider .panels { display: grid; gap: .6rem; margin: .6rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); }
.xray-slider .panel { width: 100%; max-width: 15rem; justify-self: center; text-align: center; }
.xray-slider .panel > span, .xray-slider .bar { font-size: .85em; }
.xray-slider .stack { position: relative; }
.xray-slider img { display: block; width: 100%; height: auto; margin: 0; aspect-ratio: 1;
  padding: 0 !important; background: none !important; border-radius: 0 !important; }
.xray-slider .cells img { image-rendering: pixelated; }
.xray-slider .stack img + img { position: absolute; inset: 0; opacity: .5; }
.xray-slider p { margin: .3rem 0; min-height: 1.5em; }
.xray-slider .bar { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
.xray-slider .bar i { width: 9rem; height: .8rem; border: 1px solid #888; GRADIENT
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
/* In dark mode the theme puts HTML and pictures on a light ground; these need none. */
.text_html:has(.xray-slider) { background: none !important; color: inherit !important; }
@media print { .xray-slider .controls { display: none; }
  .xray-slider .panels { grid-template-columns: repeat(3, 1fr); }
  .xray-slider { break-inside: avoid; } }
"""

SCRIPT = """
(() => {
  const root = document.currentScript.closest(".xray-slider");
  const page = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const controls = ["image", "method", "class", "layer"];
  const show = () => {
    const position = controls.map((name) => part(name).value);
    const [cells, heat, caption] = page.frames[position.join("-")];
    part("radiograph").src = part("ground").src = page.radiographs[part("image").value];
    part("cells").src = cells;
    part("heat").src = heat || cells;
    part("cells").alt = "True cells. " + caption;
    part("heat").alt = "Overlay. " + caption;
    part("caption").textContent = caption;
    part("layer").setAttribute("aria-valuetext", page.layers[part("layer").value]);
  };
  for (const event of ["input", "change"]) root.addEventListener(event, show);
  show();
})();
"""


@dataclass(frozen=True)
class Frame:
    """What one position of the slider shows, pictures as data URIs."""

    cells: str  # a pixel a cell
    heat: str  # upscaled; "" where the cells are as fine
    caption: str


def data_uri(pixels: np.ndarray, exact: bool = False) -> str:
    """Return pixels uint8 (H, W) or (H, W, 3) as a WebP data URI, `exact` for no loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY, lossless=exact, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def colour(heatmap: np.ndarray) -> np.ndarray:
    """Return values 0 to 1 (H, W) in the colours of inferno, uint8 (H, W, 3)."""
    return matplotlib.colormaps["inferno"](heatmap, bytes=True)[..., :3]


def draw_frame(cells: np.ndarray, caption: str) -> Frame:
    """Draw the cells of one map, as they are and upscaled, each normalised by its maximum.

    Args:
        cells: float (h, w), none below 0.
        caption: what the map is of.
    """
    is_fine = min(cells.shape) >= HEAT_SIDE
    heat = "" if is_fine else data_uri(colour(upscale(cells, HEAT_SIDE)))
    picture = colour(upscale(cells, cells.shape))
    return Frame(data_uri(picture, exact=max(cells.shape) <= FINEST_EXACT), heat, caption)


def style() -> str:
    """Return the style element that every slider brings along."""
    stops = ", ".join(
        matplotlib.colors.to_hex(matplotlib.colormaps["inferno"](k / 8)) for k in range(9)
    )
    gradient = f"background: linear-gradient(to right, {stops});"
    return f"<style>{STYLE.replace('GRADIENT', gradient)}</style>"


def panels(radiograph: str, frame: Frame) -> str:
    """Return the three pictures, radiograph | true cells | overlay, with their caption and bar.

    Args:
        radiograph: data URI.
        frame: of the map.
    """
    ground = f'class="dark-light" src="{radiograph}"'
    caption = html.escape(frame.caption)
    return f"""<div class="panels">
<div class="panel"><img {ground} data-part="radiograph" alt="The radiograph">
<span>radiograph</span></div>
<div class="panel cells"><img class="dark-light" src="{frame.cells}" data-part="cells"
 alt="True cells. {caption}"><span>true cells</span></div>
<div class="panel"><div class="stack"><img {ground} data-part="ground" alt="">
<img class="dark-light" src="{frame.heat or frame.cells}" data-part="heat"
 alt="Overlay. {caption}"></div><span>overlay</span></div>
</div>
<p data-part="caption" role="status" aria-live="polite">{caption}</p>
<div class="bar"><span>0</span><i></i><span>1, normalised per image</span></div>"""


def slider_page(radiographs, frames, names: dict, start: tuple) -> str:
    """Return the slider as HTML that works by itself.

    Args:
        radiographs: data URIs.
        frames: position (image, method, class, layer), each counted from 0 -> `Frame`.
        names: `image`, `method`, `class` and `layer` -> the names to choose from.
        start: the position shown first.
    """
    first = dict(zip(names, start, strict=True))
    page = {
        "radiographs": radiographs,
        "layers": names["layer"],
        "frames": {"-".join(map(str, k)): (f.cells, f.heat, f.caption) for k, f in frames.items()},
    }
    data = json.dumps(page).replace("</", "<\\/")  # or a name could end the script element
    choices = "".join(_select(name, names[name], first[name]) for name in _SELECTS)
    return f"""<div class="xray-slider">{style()}
<div class="controls">
<label class="layer">Layer <input type="range" data-part="layer" min="0" step="1"
 max="{len(names["layer"]) - 1}" value="{first["layer"]}" autocomplete="off"
 aria-valuetext="{html.escape(names["layer"][first["layer"]])}"></label>
{choices}</div>
{panels(radiographs[first["image"]], frames[start])}
<noscript><p>The slider needs JavaScript; without it this one map is shown.</p></noscript>
<script type="application/json">{data}</script>
<script>{SCRIPT}</script>
</div>"""


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
