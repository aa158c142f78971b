"""Figures of images, results, comparisons and studies, in the book's one style."""

import io
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.figure import Figure

from xraylib.config import CLASS_NAMES

STYLE = Path(__file__).with_name("xraylib.mplstyle")
COLOURS = {"normal": "#0072B2", "pneumonia": "#D55E00", "COVID-19": "#009E73"}
NETWORKS = {  # one colour each, in every chapter
    "experiment 1": "#0072B2",
    "experiment 2": "#D55E00",
    "experiment 3": "#009E73",
    "unconfounded": "#0072B2",
    "confounded": "#D55E00",
}
PIXELS = 64  # a side from which an image on an axis is a picture and no table of cells
PAGE, SMALLEST = 750, 8.3  # pixels that a figure may be wide on a page; points, 11 pixels there
HATCHES = {"normal": "", "pneumonia": "//", "COVID-19": ".."}


def use_style() -> None:
    """Use the book's look for every figure that follows.

    In a notebook a figure of lines is shown as SVG, one with radiographs as PNG. The PDF beside
    the SVG is for `jupyter nbconvert --to latex`, which could not take the SVG without Inkscape.
    """
    plt.style.use(STYLE)
    shell = get_ipython()
    if shell is not None:
        plt.switch_backend(plt.get_backend())  # which sets its own formats, once
        formatters = shell.display_formatter.formatters
        formatters["image/svg+xml"].for_type(Figure, draw_svg)
        formatters["application/pdf"].for_type(Figure, draw_pdf)
        formatters["image/png"].for_type(Figure, draw_png)


def has_pictures(figure: Figure) -> bool:
    """Return whether a figure shows a radiograph or the like."""
    shown = [image for axis in figure.axes for image in axis.images]
    return any(min(image.get_array().shape[:2]) >= PIXELS for image in shown)


def draw_svg(figure: Figure) -> str | None:
    """Return a figure of lines as SVG, nothing for one with pictures."""
    if has_pictures(figure):
        return None
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()


def draw_pdf(figure: Figure) -> bytes | None:
    """Return a figure of lines as PDF, nothing for one with pictures."""
    if has_pictures(figure):
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", bbox_inches="tight", metadata={"CreationDate": None})
    return buffer.getvalue()


def draw_png(figure: Figure) -> bytes | None:
    """Return a figure with pictures as PNG, nothing for one of lines."""
    if not has_pictures(figure):
        return None
    buffer, dpi = io.BytesIO(), min(160, 2 * PAGE / figure.get_figwidth())  # twice the page
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    return buffer.getvalue()


def letters(width: float) -> float:
    """Return the points of the smallest letters of a figure: 11 pixels on a page of 750.

    The width of the figure is in inches.
    """
    return max(SMALLEST, SMALLEST * width * 96 / PAGE)


def plot_images(images, titles=None, columns: int = 6, outlines=None, heat=None) -> plt.Figure:
    """Show radiographs in a grid.

    Args:
        images: sequence of uint8 (H, W).
        titles: text above each.
        columns: images in a row.
        outlines: sequence of bool (H, W) or None: masks whose borders are drawn.
        heat: sequence of float (H, W), 0 to 1: maps laid over the images.
    """
    rows = -(-len(images) // columns)
    size, letter = (1.6 * columns, 1.85 * rows), letters(1.6 * columns)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    characters = int(1.6 * 72 / (0.6 * letter))
    for axis in axes.flat:
        axis.axis("off")
    for number, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        if heat is not None:
            axis.imshow(heat[number], cmap="inferno", vmin=0, vmax=1, alpha=0.5)
        if titles is not None:
            axis.set_title(textwrap.fill(titles[number], characters), fontsize=letter)
        if outlines is not None and outlines[number] is not None and outlines[number].any():
            axis.contour(outlines[number], levels=[0.5], colors="#56B4E9", linewidths=1)
    return figure


def plot_confusion(matrices: dict) -> plt.Figure:
    """Show confusion matrices side by side, shaded by the share of each true class.

    Args:
        matrices: title -> counts (3, 3), rows true.
    """
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(3.3 * len(matrices), 3.4), squeeze=False, sharey=True
    )
    letter = letters(3.3 * len(matrices))
    for axis, (title, matrix) in zip(axes.flat, matrices.items(), strict=True):
        matrix = np.asarray(matrix)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"
            text = f"{matrix[row, column]:,}\n{share:.0%}"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=letter)
        axis.set(title=title, xlabel="predicted", xticks=range(3), yticks=range(3))
        axis.set_xticklabels(CLASS_NAMES, fontsize=letter)
        axis.set_yticklabels(CLASS_NAMES, fontsize=letter)
        axis.spines[:].set_visible(False)
    axes[0, 0].set_ylabel("true")
    return figure


def plot_history(history) -> plt.Figure:
    """Show loss and accuracy over the epochs, for training and validation.

    Args:
        history: table with epoch, loss, accuracy, val_loss, val_accuracy.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2))
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(history.epoch, history[name], label="training", markevery=5)
        if f"val_{name}" in history:
            axis.plot(history.epoch, history[f"val_{name}"], label="validation", markevery=5)
        axis.set(xlabel="epoch", ylabel=name)
    axes[1].set_ylim(0, 1.02)
    axes[0].legend()
    return figure


def plot_training_curves(table, points=None) -> plt.Figure:
    """Show accuracy and loss on the training images over the epochs: the report's Figure 6.

    Args:
        table: what `experiments.training_curves` returns: experiment, epoch, accuracy, loss.
        points: published values to mark, as `report.FIGURE_6`: accuracy or loss -> epoch ->
            experiment -> value.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for axis, name in zip(axes, ("accuracy", "loss"), strict=True):
        for experiment, part in table.groupby("experiment", sort=False):
            (line,) = axis.plot(part.epoch, part[name], label=experiment, markevery=5)
            for epoch, values in (points or {}).get(name, {}).items():
                axis.plot(epoch, values[experiment], "*", color=line.get_color(), markersize=10)
        axis.set(xlabel="epoch", ylabel=f"training {name}", ylim=(0, None))
    axes[0].legend(loc="lower right")
    return figure


def plot_batches(counts) -> plt.Figure:
    """Show how many images of each class stand in each batch.

    Args:
        counts: table with one row per batch and one column per class.
    """
    figure, axis = plt.subplots(figsize=(7, 3))
    bottom = np.zeros(len(counts))
    for name in CLASS_NAMES:
        axis.bar(
            counts.index,
            counts[name],
            bottom=bottom,
            label=name,
            color=COLOURS[name],
            hatch=HATCHES[name],
            edgecolor="white",
        )
        bottom += counts[name]
    axis.set(xlabel="batch", ylabel="images")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def plot_intervals(rows, xlabel: str) -> plt.Figure:
    """Show shares with their intervals, one below the other: name -> (value, low, high), 0 to 1."""
    figure, axis = plt.subplots(figsize=(7, 0.9 + 0.42 * len(rows)))
    for place, (value, low, high) in enumerate(rows.values()):
        _draw_interval(axis, place, value, low, high)
        text, above = f"{value:.3f}", {"textcoords": "offset points", "ha": "center"}
        axis.annotate(text, (value, place), (0, 6), fontsize=9, **above)
    axis.set(xlabel=xlabel, yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.7))
    axis.set_yticklabels(rows)
    axis.grid(axis="x")
    return figure


def _draw_interval(axis, place: float, value: float, low: float, high: float) -> None:
    axis.plot([low, high], [place, place], color="#0072B2", marker="|", linestyle="-")
    axis.plot(value, place, color="#0072B2", marker="o")


def plot_reliability(curves: dict) -> plt.Figure:
    """Show how often predictions are right, over how sure they are.

    Args:
        curves: name -> (confidence, accuracy, counts), of `metrics.reliability_curve`.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5, 4.2), sharex=True, height_ratios=(3, 1))
    axes[0].plot([0, 1], [0, 1], color="black", linestyle=":", marker="", label="calibrated")
    width = 0.8 / len(curves) / max(len(counts) for *_, counts in curves.values())
    for number, (name, (confidence, accuracy, counts)) in enumerate(curves.items()):
        filled = counts > 0
        (line,) = axes[0].plot(confidence[filled], accuracy[filled], label=name)
        places = (np.arange(len(counts)) + 0.1) / len(counts) + number * width
        hatch = ("", "//")[number % 2]
        axes[1].bar(
            places, counts, width, align="edge", color=line.get_color(), hatch=hatch, edgecolor="w"
        )
    axes[0].set(ylabel="share that is right", xlim=(0, 1), ylim=(-0.02, 1.02))
    axes[0].legend(loc="upper left")
    axes[1].set(xlabel="confidence", ylabel="images")
    return figure


def plot_stack(shapes) -> plt.Figure:
    """Draw the layers of a network as boxes, as high as their maps and as wide as their depth.

    Args:
        shapes: sequence of (name, (h, w, channels), is_frozen).
    """
    figure, axis = plt.subplots(figsize=(9, 3.4))
    left = 0.0
    for name, (height, _, depth), is_frozen in shapes:
        tall, wide = 0.3 + np.sqrt(height) / 4, 0.25 + np.sqrt(depth) / 30
        axis.add_patch(
            plt.Rectangle(
                (left, -tall / 2),
                wide,
                tall,
                edgecolor="black",
                facecolor="#C9D6E2" if is_frozen else "#E69F00",
                hatch="" if is_frozen else "//",
            )
        )
        size = f"{height} x {height} x {depth}" if height > 1 else str(depth)
        for text, y, turn, edge in (
            (size, tall / 2 + 0.08, 60, "bottom"),
            (name, -tall / 2 - 0.08, -60, "top"),
        ):
            look = {"fontsize": letters(9), "rotation": turn, "rotation_mode": "anchor"}
            axis.text(left + wide / 2, y, text, ha="left", va=edge, **look)
        left += wide + 0.22
    axis.set(xlim=(-0.2, left + 0.6), ylim=(-3.9, 3.5))
    axis.axis("off")
    return figure


def plot_grid(table) -> plt.Figure:
    """Show the accuracy for every training view (rows) and test view (columns).

    The table has one row per pair: train_view, test_view, accuracy, accuracy low, accuracy high.
    """
    names = list(table.train_view.unique())
    cells = table.set_index(["train_view", "test_view"])
    width = 1.6 + 0.95 * len(names)
    figure, axis = plt.subplots(figsize=(width, 1.4 + 0.72 * len(names)))
    words = {"ha": "center", "va": "center", "fontsize": letters(width)}
    shown = np.array([[cells.loc[(a, b), "accuracy"] for b in names] for a in names])
    axis.imshow(shown, cmap="cividis", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shown):
        cell = cells.loc[(names[row], names[column])]
        text = f"{share:.2f}\n{cell['accuracy low']:.2f}–{cell['accuracy high']:.2f}"
        colour = "black" if share > 0.55 else "white"
        weight = "bold" if row == column else "normal"
        axis.text(column, row, text, color=colour, fontweight=weight, **words)
    ticks = range(len(names))
    axis.set(xticks=ticks, yticks=ticks, xlabel="tested on", ylabel="trained on")
    axis.set_xticklabels(names, rotation=30, ha="right", fontsize=letters(width))
    axis.set_yticklabels(names, fontsize=letters(width))
    axis.spines[:].set_visible(False)
    return figure


def plot_effects(table) -> plt.Figure:
    """Show the factorial's effects with their intervals, one panel a measure.

    Args:
        table: what `experiments.factor_effects` returns: measure, factor, effect, low, high.
    """
    measures = list(table.measure.unique())
    figure, axes = plt.subplots(1, len(measures), figsize=(9, 3.2), sharey=True)
    for axis, measure in zip(np.atleast_1d(axes), measures, strict=True):
        part = table[table.measure == measure].reset_index(drop=True)
        axis.axvline(0, color="black", linestyle="-", marker="", linewidth=0.8)
        for place, row in part.iterrows():
            _draw_interval(axis, place, row.effect, row.low, row.high)
        axis.set(xlabel=f"change of {measure}", yticks=range(len(part)))
        axis.set_yticklabels(part.factor)
        axis.locator_params(axis="x", nbins=5)
        axis.grid(axis="x")
    axis.invert_yaxis()
    return figure


def plot_sweep(table) -> plt.Figure:
    """Show the accuracy over the confounding of the training set, one line per view.

    The table has one row per point: confounding, view, accuracy, accuracy low, accuracy high.
    """
    figure, axis = plt.subplots(figsize=(7, 3.6))
    for shift, (name, part) in enumerate(table.groupby("view", sort=False)):
        places = part.confounding + 0.01 * shift  # side by side, so that no interval hides another
        low, high = part["accuracy low"], part["accuracy high"]
        spread = [part.accuracy - low, high - part.accuracy]
        axis.errorbar(places, part.accuracy, yerr=spread, label=name, capsize=3)
    axis.set(xlabel="confounding of source and class in training", ylabel="accuracy", ylim=(0, 1))
    axis.legend(loc="lower left")
    return figure


VIEW_MARKS = ("o", "s", "^", "D")  # a second cue beside the colour


def plot_hospitals(table) -> plt.Figure:
    """Show macro recall and false COVID-19 in hospitals left out, over the hospitals taught by.

    Args:
        table: of `make measure TABLE=hospitals_curve`: view, hospitals, seed, and both figures with
            their ends. A mark is the mean of the seeds, a bar the widest of their intervals.
    """
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.2), sharex=True)
    views = list(dict.fromkeys(table.view))
    for axis, name in zip(axes, ("macro recall", "false COVID-19"), strict=True):
        for number, view in enumerate(views):
            part = table[table.view == view].groupby("hospitals")
            mean = part[name].mean()
            ends = [mean - part[f"{name} low"].min(), part[f"{name} high"].max() - mean]
            places = mean.index + 0.06 * (number - (len(views) - 1) / 2)
            axis.errorbar(places, mean, yerr=ends, marker=VIEW_MARKS[number], capsize=2, label=view)
        axis.set(title=name, xlabel="hospitals for each class that has so many", ylim=(0, 1))
        axis.set_xticks(sorted(set(table.hospitals)))
    axes[0].axhline(1 / len(CLASS_NAMES), color="0.4", linestyle=":", marker="")
    axes[0].legend(loc="upper left")
    return figure


FOLD_MARKS = {"image": ("#0072B2", "o"), "patient": ("#D55E00", "s")}  # a second cue: the marker
MEASURES = {"recall": "recall", "precision": "precision", "ece": "calibration error"}


def plot_stacks(table, targets: dict | None = None) -> plt.Figure:
    """Show the accuracy of recipes, one row per recipe, one mark per way to fold.

    Args:
        table: what `studies.folds_table` returns: recipe, folds, accuracy, low, high, n, seed.
            Accuracy and interval ends are averaged over the seeds; each seed is a faint mark.
        targets: published accuracies to draw as lines, folds -> accuracy.
    """
    names = list(table.recipe.unique())
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.5 * len(names)))
    for shift, (way, part) in zip((-0.12, 0.12), table.groupby("folds"), strict=False):
        colour, marker = FOLD_MARKS[way]
        means = part.groupby("recipe")[["accuracy", "low", "high"]].mean().loc[names]
        places = [place + shift for place in range(len(names))]
        spread = [means.accuracy - means.low, means.high - means.accuracy]
        label = f"folds by {way}"
        axis.errorbar(
            means.accuracy,
            places,
            xerr=spread,
            color=colour,
            marker=marker,
            linestyle="",
            capsize=3,
            label=label,
        )
        seeds = part.recipe.map(names.index) + shift
        axis.plot(part.accuracy, seeds, color=colour, marker="|", linestyle="", alpha=0.6)
        if targets and way in targets:
            axis.axvline(targets[way], color=colour, linestyle="--", marker="", linewidth=1)
    axis.set(xlabel="accuracy", yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
    axis.set_yticklabels(names)
    axis.grid(axis="x")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def plot_tuning(trials, importance) -> plt.Figure:
    """Show the losses of a study in order, and what its settings explain of them.

    Args:
        trials: what `studies.best_trials` returns: trial, state, loss.
        importance: as `studies.importances` returns it, setting -> share.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    marks = {"complete": ("#0072B2", "o"), "pruned": ("#999999", "x")}
    for state, part in trials.groupby("state"):
        colour, marker = marks.get(state, ("black", "."))
        left.plot(part.trial, part.loss, color=colour, marker=marker, linestyle="", label=state)
    finished = trials[trials.state == "complete"].sort_values("trial")
    left.step(
        finished.trial,
        finished.loss.cummin(),
        where="post",
        color="black",
        linestyle="-",
        marker="",
        label="best so far",
    )
    left.set(xlabel="trial", ylabel="validation loss (nats)")
    left.locator_params(axis="x", integer=True)
    left.legend(loc="upper right")
    shown = importance.sort_values()
    right.barh([name.replace("_", " ") for name in shown.index], shown, color="#0072B2")
    right.set(xlabel="share of importance", xlim=(0, 1))
    return figure


def plot_upsampling(table) -> plt.Figure:
    """Show recall, precision and calibration of COVID-19 over the rate, a panel each.

    Args:
        table: what `studies.upsampling_study` returns: share, and each figure with its low and high
            end.
    """
    table = table.sort_values("share")
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
    for axis, (name, word) in zip(axes, MEASURES.items(), strict=True):
        spread = [table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]]
        axis.errorbar(table.share, table[name], yerr=spread, color="#0072B2", marker="o", capsize=3)
        axis.axvline(0.30, color="black", linestyle=":", marker="", linewidth=1)
        axis.set(xlabel="share of COVID-19 in a batch", title=f"{word} of COVID-19")
        axis.set_ylim(0, None if name == "ece" else 1.02)
    axes[0].text(0.31, 0.05, "the report's", fontsize=letters(9))
    return figure


def plot_learning_curve(table) -> plt.Figure:
    """Show accuracy over the number of images trained on.

    Args:
        table: of `make measure TABLE=learning_curve`: images, accuracy, low, high.
    """
    figure, axis = plt.subplots(figsize=(6, 3.4))
    spread = [table.accuracy - table.low, table.high - table.accuracy]
    axis.errorbar(table.images, table.accuracy, yerr=spread, color="#0072B2", marker="o", capsize=3)
    axis.set(xscale="log", xlabel="training images (logarithmic)", ylabel="accuracy")
    axis.set_xticks(table.images, [f"{images:.0f}" for images in table.images])
    axis.minorticks_off()
    return figure
