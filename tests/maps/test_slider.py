"""The slider and the upload box as objects: what they hold with a kernel and without."""

import base64
import copy
import io
import json
import re
from datetime import datetime
from types import SimpleNamespace

import cv2
import keras
import nbformat
import numpy as np
import pytest
from keras import layers
from nbclient import NotebookClient
from PIL import Image

from xraylib import maps
from xraylib.config import CLASS_NAMES
from xraylib.maps import Explainer, upscale
from xraylib.maps import slider as slider_file

SIDE = 16


@pytest.fixture(scope="module")
def explainer():
    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 1))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1")(x)
    x = layers.Conv2D(4, 3, strides=3, activation="relu", name="conv2")(x)
    x = layers.Flatten()(x)
    return Explainer(keras.Model(image, layers.Dense(3, name="logits")(x)))


@pytest.fixture(scope="module")
def radiographs():
    return list(np.random.default_rng(0).integers(0, 256, (2, 40, 30), np.uint8))


@pytest.fixture(scope="module")
def slider(explainer, radiographs):
    return maps.layer_slider(explainer, radiographs, ["one", "other"], start={"class": "normal"})


def run_by(monkeypatch, reader: bool) -> None:
    """Let a kernel run, asked by a reader who can answer it or by a program that cannot."""
    kernel = SimpleNamespace(get_parent=lambda: {"content": {"allow_stdin": reader}})
    monkeypatch.setattr(slider_file, "get_ipython", lambda: SimpleNamespace(kernel=kernel))


@pytest.fixture
def kernel(monkeypatch):
    run_by(monkeypatch, reader=True)


def pixels(uri: str) -> np.ndarray:
    kind, content = uri.split(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def page_data(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.+?)</script>', html).group(1))


def find(box, kind: str):
    return [child for child in box.children if type(child).__name__ == kind]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_cells_are_shown_without_loss_and_normalised():
    cells = np.array([[0, 1], [2, 4]], np.float32)
    frame = slider_file.draw_frame(cells, "map")
    np.testing.assert_array_equal(pixels(frame.cells), slider_file.colour(cells / 4))
    smooth = slider_file.colour(upscale(cells, slider_file.HEAT_SIDE)).astype(int)
    assert np.abs(pixels(frame.heat) - smooth).mean() < 4


def test_cells_as_fine_as_the_image_are_sent_once():
    assert slider_file.draw_frame(np.ones((224, 224)), "map").heat == ""


def test_cells_that_reach_no_score_are_named():
    dead = np.array([[False, True], [False, True]])
    assert slider_file.draw_frame(np.ones((2, 2)), "map", dead).dead == "0101"
    assert slider_file.draw_frame(np.ones((2, 2)), "map", dead & False).dead == ""


def test_fifteen_layers_and_three_classes_of_mere_noise_stay_below_a_megabyte():
    rng, size = np.random.default_rng(0), 0
    for side in 3 * [224, 224, 112, 112, *3 * [56], *3 * [28], *3 * [14], 5, 3]:
        frame = slider_file.draw_frame(rng.random((side, side)), "map")
        size += len(frame.cells) + len(frame.heat)
    assert size < 900_000, "leaves no room for the rest of the page"


def test_the_page_holds_every_layer_class_method_and_image(slider, explainer):
    data = page_data(slider.html)
    assert len(data["frames"]) == 2 * 3 * 3 * 2
    assert data["layers"] == ["conv1, 16 x 16 cells", "conv2, 5 x 5 cells"]
    cells, _, caption, dead = data["frames"]["1-2-0-1"]
    asked = explainer.explain(slider.images[1], [0], ["conv2"], "layer_cam")["conv2"][0, 0]
    np.testing.assert_array_equal(pixels(cells), slider_file.colour(upscale(asked, asked.shape)))
    live = maps.live_cells(explainer, "conv2")
    assert dead == ("" if live.all() else "".join("10"[bool(cell)] for cell in live.ravel()))
    assert caption.startswith("conv2, 5 x 5 cells: Layer-CAM for normal")
    assert f"{slider.probs[1, 0]:.2f}" in caption


def test_the_page_asks_for_nothing_and_names_no_element(slider):
    without_data = re.sub(r'"data:image/webp;base64,[^"]*"', '""', slider.html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", without_data)
    assert not re.search(r'\sid="', without_data), "two sliders on a page would share it"


def test_a_title_cannot_break_out_of_the_page(explainer, radiographs):
    title = "</script><b>&"
    slider = maps.layer_slider(explainer, radiographs[:1], [title], methods=["grad_cam"])
    assert title not in slider.html


def test_without_a_reader_at_the_kernel_there_is_no_widget(slider, monkeypatch):
    assert set(slider._repr_mimebundle_()) == {"text/plain", "text/html", "image/png"}
    run_by(monkeypatch, reader=False)
    assert slider_file.WIDGET_VIEW not in slider._repr_mimebundle_()


def test_the_picture_for_print_shows_radiograph_cells_and_overlay(slider):
    picture = Image.open(io.BytesIO(base64.b64decode(slider.picture))).convert("RGB")
    assert picture.width > 2 * picture.height
    shown = set(map(tuple, np.asarray(picture).reshape(-1, 3)))
    cells = pixels(slider.frame(slider.start).cells)
    assert set(map(tuple, cells.reshape(-1, 3))) <= shown


@pytest.mark.slow
def test_an_executed_slider_becomes_a_page_and_a_paper(tmp_path):
    """As `jupyter nbconvert --to html` and `--to latex` do it, without Inkscape."""
    exporters = pytest.importorskip("nbconvert.exporters")
    cells = [
        "import keras, numpy as np, matplotlib.pyplot as plt",
        "from xraylib import maps, plots",
        "plots.use_style()",
        "image = keras.Input((16, 16, 1))",
        "x = keras.layers.Conv2D(4, 3, activation='relu', name='conv1')(image)",
        "model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))",
        "radiograph = np.arange(256, dtype=np.uint8).reshape(16, 16)",
    ]
    sources = ["\n".join(cells), "maps.layer_slider(model, radiograph)", "plt.plot([1, 2]);"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    NotebookClient(notebook, kernel_name="python3").execute()
    page, _ = exporters.HTMLExporter().from_notebook_node(copy.deepcopy(notebook))
    assert page.count('<div class="xray-slider">') == 1
    assert slider_file.WIDGET_VIEW not in page and "<svg" in page
    paper, found = exporters.LatexExporter().from_notebook_node(copy.deepcopy(notebook))
    kinds = {name.rpartition(".")[2]: content[:4] for name, content in found["outputs"].items()}
    assert kinds["png"] == b"\x89PNG" and kinds["pdf"] == b"%PDF"
    for name in found["outputs"]:
        if not name.endswith("svg"):
            assert name in paper


def test_with_a_kernel_the_widget_comes_too(slider, kernel):
    bundle = slider._repr_mimebundle_()
    assert bundle[slider_file.WIDGET_VIEW]["model_id"] == slider.widget.model_id
    assert bundle["text/html"] == slider.html


def test_live_it_shows_what_the_page_shows(slider):
    (layer,), (figure,) = find(slider.widget, "SelectionSlider"), find(slider.widget, "HTML")
    data = page_data(slider.html)
    asked, method, image = find(slider.widget, "Dropdown")
    for position in [(0, 0, 0, 0), (1, 2, 1, 1), (0, 1, 2, 0)]:
        image.value, method.value, asked.value, layer.value = position
        cells, _, caption, _ = data["frames"]["-".join(map(str, position))]
        assert cells in figure.value
        assert caption in figure.value
        assert data["radiographs"][position[0]] in figure.value


def test_it_starts_at_the_last_layer_of_some_cells_and_the_class_that_is_called(
    explainer, radiographs
):
    slider = maps.layer_slider(explainer, radiographs[:1], methods=["score_cam"])
    called = int(explainer.probs(slider.images)[0].argmax())
    assert slider.start == (0, 0, called, 0)  # conv1 has 16 x 16 cells, conv2 5 x 5
    assert "Score-CAM" in slider.html


@pytest.mark.parametrize("start", [{"layer": "conv9"}, {"class": "flu"}, {"method": "score_cam"}])
def test_a_wrong_start_is_named(explainer, radiographs, start):
    ((name, value),) = start.items()
    with pytest.raises(ValueError, match=f"{name} {value!r}"):
        maps.layer_slider(explainer, radiographs, start=start)


def test_no_image_is_an_error(explainer):
    with pytest.raises(ValueError, match="no image"):
        maps.layer_slider(explainer, [])


def test_the_caption_says_how_much_energy_is_inside_and_what_the_floors_have(explainer):
    image, lesion = np.zeros((2, SIDE, SIDE), np.uint8)
    image[:, 8:] = 200  # one edge, from top to bottom
    lesion[:8, :8] = 1
    regions = [{"lesion": lesion.astype(bool), "marker": lesion > 1}]
    slider = maps.layer_slider(explainer, image, regions=regions, methods=["grad_cam"])
    for layer in (0, 1):
        cells = slider.cells(0, 0, layer)[0]
        share = maps.energy_inside(upscale(cells, SIDE), regions[0]["lesion"])
        caption = slider.frame((0, 0, 0, layer)).caption
        assert f"Inside the lesion: {share:.0%} of the map's energy" in caption or not cells.any()
    edges = maps.energy_inside(maps.edge_maps(image[None])[0], regions[0]["lesion"])
    assert caption.endswith(f"(a flat map has 25% there, an edge detector {edges:.0%})")
    assert "marker" not in caption, "an empty region has no share"


def test_regions_are_outlined_on_the_page_and_live(explainer, radiographs):
    known = [{"lesion": np.ones((40, 30), bool)}, {}]
    with pytest.raises(ValueError, match="1 regions for 2 images"):
        maps.layer_slider(explainer, radiographs, regions=known[:1])
    slider = maps.layer_slider(explainer, radiographs, regions=known, methods=["grad_cam"])
    drawn, nothing = page_data(slider.html)["outlines"]
    assert drawn.startswith('<path class="lesion" d="M') and nothing == ""
    assert "Outline lesion (line)" in slider.html
    (figure,), (box,) = find(slider.widget, "HTML"), find(slider.widget, "Checkbox")
    assert drawn not in figure.value
    box.value = True
    assert drawn in figure.value


def test_live_it_plays_through_the_layers(slider):
    (play,), (layer,) = find(slider.widget, "Play"), find(slider.widget, "SelectionSlider")
    assert play.max == len(layer.options) - 1


def test_a_map_without_positive_cells_says_so(slider, monkeypatch):
    monkeypatch.setattr(slider, "cells", lambda *position: np.zeros((3, 5, 5), np.float32))
    assert "Nothing at this layer" in slider.frame((0, 0, 0, 1)).caption


@pytest.fixture
def box(explainer):
    return maps.upload_box(explainer, [[8, 1, 1], [2, 6, 2], [0, 1, 9]], layer="conv2")


@pytest.mark.parametrize("version", [7, 8])
def test_an_upload_is_answered(box, version):
    content = png(np.random.default_rng(1).integers(0, 256, (50, 40), np.uint8))
    by_version = {
        7: {"chest.png": {"metadata": {"name": "chest.png"}, "content": content}},
        8: ({"name": "chest.png", "content": memoryview(content)},),
    }
    ((name, found),) = slider_file.uploaded(by_version[version])
    answer = box.answer(name, found)
    assert (name, found) == ("chest.png", content)
    assert all(text in answer for text in (*CLASS_NAMES, "conv2: Grad-CAM", slider_file.WARNING))
    assert re.search(r"Of the \d+ test images[^.]+interval \d+% to \d+%", answer)


def test_the_live_box_answers_its_button(box):
    (button,), (answer,) = find(box.widget, "FileUpload"), find(box.widget, "HTML")
    assert slider_file.WARNING in answer.value
    file = {"name": "a.png", "type": "", "size": 8, "content": memoryview(b"no image")}
    if isinstance(button.value, tuple):  # ipywidgets 8
        button.value = (file | {"last_modified": datetime.now()},)
    else:
        button.set_trait("value", {"a.png": file})
    assert "a.png: not a PNG or JPEG image" in answer.value


@pytest.mark.parametrize("content", [b"", b"GIF89a", png(np.zeros((9, 9), np.uint8))[:40]])
def test_a_bad_file_gets_a_message_and_its_name_is_escaped(box, content):
    answer = box.answer("<b>.png", content)
    assert 'role="alert"' in answer
    assert "&lt;b&gt;.png: " in answer
    assert "<b>" not in answer


def test_a_class_that_was_never_called_has_no_record(explainer):
    box = maps.upload_box(explainer, np.zeros((3, 3), int), layer="conv2")
    assert "called no test image" in box.answer("a.png", png(np.zeros((20, 20), np.uint8)))


def test_on_the_page_the_box_says_that_it_needs_a_kernel(box, kernel):
    bundle = box._repr_mimebundle_()
    assert "needs a running kernel" in bundle["text/html"]
    assert "own_radiograph.html" in bundle["text/html"]
    assert slider_file.WARNING in bundle["text/html"]
    assert slider_file.WIDGET_VIEW in bundle


@pytest.fixture(scope="module")
def five():
    """A model of five classes that takes colour."""
    keras.utils.set_random_seed(4)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv1")(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(x)))


FIVE = ["viral", "bacterial", "TB", "clear", "effusion"]


def test_classes_of_ones_own_have_their_names_in_slider_and_box(five, radiographs):
    slider = maps.layer_slider(five, radiographs[0], class_names=FIVE, start={"class": "TB"})
    assert slider.names["class"] == FIVE and len(slider.radiographs) == 1
    frames = page_data(slider.html)["frames"]
    assert len(frames) == 5 * 3
    probs = slider.explainer.probs(slider.images)[0]
    for k, name in enumerate(FIVE):
        assert (
            f"for {name}, whose probability is {probs[k]:.2f}" in slider.frame((0, 0, k, 0)).caption
        )
    box = maps.upload_box(five, np.eye(5, dtype=int) * 7, class_names=FIVE)
    answer = box.answer("a.png", png(radiographs[0]))
    assert all(name in answer for name in FIVE) and "COVID" not in answer
    assert box.layer == "conv1" and "Of the 7 test images" in answer
    assert "The image is doubtful: 1 grey values" in box.answer(
        "b.png", png(0 * radiographs[0] + 99)
    )
    unnamed = maps.layer_slider(five, radiographs)
    assert unnamed.names["class"] == [f"class {k}" for k in range(5)]


def test_one_image_is_one_image_grey_or_in_colour(five, explainer, radiographs):
    colour = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    assert len(maps.layer_slider(explainer, radiographs[0]).names["image"]) == 1
    assert len(maps.layer_slider(explainer, np.stack(radiographs)).names["image"]) == 2
    assert len(maps.layer_slider(five, colour).names["image"]) == 1
    assert maps.layer_slider(five, [colour, radiographs[0]]).images.shape == (2, SIDE, SIDE, 3)
    with pytest.raises(
        ValueError, match=r"image 1 is uint8 \(30, 40, 3\): give uint8 \(H, W\), grey"
    ):
        maps.layer_slider(explainer, colour)
    with pytest.raises(ValueError, match=r"image 2 is float64 \(40, 30\): give uint8"):
        maps.layer_slider(explainer, [radiographs[0], radiographs[0] / 255])


def test_titles_and_the_keys_of_a_start_are_checked(explainer, five, radiographs):
    with pytest.raises(ValueError, match="1 titles for 2 images: name each once"):
        maps.layer_slider(explainer, radiographs, ["one"])
    with pytest.raises(
        ValueError, match="start names 'clas': it can name image, method, class, la"
    ):
        maps.layer_slider(explainer, radiographs, start={"clas": "normal"})
    with pytest.raises(ValueError, match=r"confusion \(3, 3\) for 5 classes"):
        maps.upload_box(five, np.eye(3))
    with pytest.raises(ValueError, match="4 class_names for 5 classes"):
        maps.layer_slider(five, radiographs, class_names=FIVE[:4])
