"""The picture of the first page: one phantom in four views, and what a network makes of each.

make cover
"""

from pathlib import Path

import matplotlib.pyplot as plt

from xraylib import experiments, files, phantoms, plots, report
from xraylib.config import COVID

TARGET = Path(__file__).resolve().parents[2] / "book/assets/cover.png"
SHOWN = ("original", "segmented", "lungs erased", "silhouette")
SEED = 12


def draw() -> plt.Figure:
    """Draw a phantom with COVID-19 in four views, with the accuracies of networks that see them.

    Returns:
        the figure; its accuracies are those of `book/results/real/grid.csv`.
    """
    plots.use_style()
    phantom = phantoms.make_phantom(COVID, SEED)
    grid = report.load_table("real", "grid").set_index(["train_view", "test_view"]).accuracy
    views = [experiments.VIEWS[name].apply(phantom.image, phantom.lung_mask) for name in SHOWN]
    titles = [f"{name}\n{grid[name, name] * 100:.0f} % right" for name in SHOWN]
    figure = plots.plot_images(views, titles, columns=len(SHOWN))
    figure.set_size_inches(8, 2.62)
    for axis in figure.axes:
        axis.title.set_fontsize(13)
    return figure


def main(target: Path = TARGET) -> None:
    """Write the picture."""
    with files.whole_file(target) as part:
        draw().savefig(part, dpi=110)


if __name__ == "__main__":
    main()
