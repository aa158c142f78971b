import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from nbclient import NotebookClient

from xraylib import plots, report
from xraylib.plots import figures


def smallest_letters(figure) -> float:
    """Return the height in pixels of a figure's smallest letters on a page of 750 pixels."""
    figure.canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    pixels_an_inch = min(96, figures.PAGE / figure.get_figwidth())
    return min((text.get_fontsize() / 72 * pixels_an_inch for text in texts), default=99)


@pytest.fixture(autouse=True)
def closed():
    """Every figure of these tests has letters that can be read."""
    plots.use_style()
    yield
    for number in plt.get_fignums():
        assert smallest_letters(plt.figure(number)) >= 11
    plt.close("all")


def test_the_style_has_an_opaque_ground_and_a_second_cue():
    plots.use_style()
    assert plt.rcParams["figure.facecolor"] == "white" and not plt.rcParams["savefig.transparent"]
    assert {"color", "marker", "linestyle"} <= plt.rcParams["axes.prop_cycle"].keys


def test_images_keep_their_grey_values():
    images = [np.full((8, 8), value, np.uint8) for value in (0, 100, 255)]
    masks = [None, np.eye(8, dtype=bool), np.zeros((8, 8), bool)]
    figure = plots.plot_images(images, ["a", "b", "c"], columns=2, outlines=masks)
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == ["a", "b", "c"]
    assert all(axis.images[0].get_clim() == (0, 255) for axis in shown)
    assert [len(axis.collections) for axis in shown] == [0, 1, 0]


def test_confusion_shows_counts_and_shares_of_the_true_class():
    figure = plots.plot_confusion({"made up": [[8, 2, 0], [0, 5, 5], [0, 0, 0]]})
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:3] == ["8\n80%", "2\n20%", "0\n0%"] and len(texts) == 9


def test_history_shows_validation_only_where_there_is_one():
    history = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], "accuracy": [0.5, 0.7]})
    assert len(plots.plot_history(history).axes[0].lines) == 1
    with_val = history.assign(val_loss=[1.0, 1.1], val_accuracy=[0.4, 0.5])
    assert len(plots.plot_history(with_val).axes[0].lines) == 2


def test_batches_and_intervals_and_stack_draw_what_they_are_given():
    counts = pd.DataFrame({"normal": [4, 2], "pneumonia": [3, 1], "COVID-19": [3, 1]})
    assert len(plots.plot_batches(counts).axes[0].patches) == 6
    figure = plots.plot_intervals({"a": (0.5, 0.4, 0.6)}, "share")
    assert figure.axes[0].get_yticklabels()[0].get_text() == "a"
    shapes = [("block1_conv1", (224, 224, 64), True), ("block6_conv1", (5, 5, 512), False)]
    assert len(plots.plot_stack(shapes).axes[0].patches) == 2


def test_reliability_draws_filled_bins_only():
    curve = (np.array([np.nan, 0.9]), np.array([np.nan, 0.7]), np.array([0, 5]))
    above, below = plots.plot_reliability({"as trained": curve, "scaled": curve}).axes
    assert [list(line.get_xdata()) for line in above.lines[1:]] == [[0.9], [0.9]]
    assert len(below.patches) == 4


def test_small_letters_are_found():
    figure, axis = plt.subplots(figsize=(12, 2))
    axis.set_title("small", fontsize=9)
    assert smallest_letters(figure) < 11
    plt.close(figure)


@pytest.mark.parametrize("methods", [1, 4])
def test_many_maps_keep_their_letters(methods):
    images, cells = np.zeros((2, 80, 80), np.uint8), np.ones((2, 7, 7))
    figure = plots.plot_map_grid(images, ["one", "two"], {f"m{k}": cells for k in range(methods)})
    assert figures.has_pictures(figure)


def test_a_grid_of_views_keeps_its_letters():
    names = [f"a view {k}" for k in range(8)]
    rows = [
        {
            "train_view": a,
            "test_view": b,
            "accuracy": 0.5,
            "accuracy low": 0.4,
            "accuracy high": 0.6,
        }
        for a in names
        for b in names
    ]
    figure = plots.plot_grid(pd.DataFrame(rows))
    assert figure.axes[0].texts[0].get_text() == "0.50\n0.40–0.60"


def test_lines_are_shown_as_svg_and_radiographs_as_png():
    lines = plots.plot_intervals({"a": (0.5, 0.4, 0.6)}, "share")
    assert figures.draw_svg(lines).startswith("<?xml") and figures.draw_png(lines) is None
    assert figures.draw_pdf(lines).startswith(b"%PDF")
    pictures = plots.plot_images([np.zeros((80, 80), np.uint8)])
    assert figures.draw_svg(pictures) is None is figures.draw_pdf(pictures)
    assert figures.draw_png(pictures).startswith(b"\x89PNG")
    matrix = plots.plot_confusion({"made up": np.eye(3, dtype=int)})
    assert figures.draw_svg(matrix), "a matrix is no radiograph"


@pytest.mark.slow
def test_a_notebook_shows_each_figure_as_what_it_is():
    cells = [
        "from xraylib import plots; import numpy as np; plots.use_style()",
        "plots.plot_intervals({'a': (0.5, 0.4, 0.6)}, 'share');",
        "plots.plot_images([np.zeros((80, 80), np.uint8)]);",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, kernel_name="python3").execute()
    kinds = [[set(out.data) - {"text/plain"} for out in c.outputs] for c in notebook.cells[1:]]
    assert kinds == [[{"image/svg+xml", "application/pdf"}], [{"image/png"}]]


def test_training_curves_have_a_line_for_each_experiment_and_the_reports_points():
    rows = [(f"experiment {k}", epoch, 0.5, 1.0) for k in (1, 2, 3) for epoch in (1, 2)]
    table = pd.DataFrame(rows, columns=["experiment", "epoch", "accuracy", "loss"])
    axis = plots.plot_training_curves(table, report.FIGURE_6).axes[0]
    assert len(axis.lines) == 3 + 2 * 3  # two epochs are read off the report's figure
    assert len(plots.plot_training_curves(table).axes[1].lines) == 3
