"""Every figure of the book. Nothing is computed here but positions and colours."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from xraylib.config import CLASS_NAMES

STYLE = Path(__file__).with_name("xraylib.mplstyle")
COLOURS = {"normal": "#0072B2", "pneumonia": "#D55E00", "COVID-19": "#009E73"}
HATCHES = {"normal": "", "pneumonia": "//", "COVID-19": ".."}


def use_style() -> None:
    """Use the book's look for every figure that follows."""
    plt.style.use(STYLE)


def plot_images(images, titles=None, columns: int = 6, outlines=None) -> plt.Figure:
    """Show radiographs in a grid.

    Args:
        images: sequence of uint8 (H, W).
        titles: text above each.
        columns: images in a row.
        outlines: sequence of bool (H, W) or None: masks whose borders are drawn.
    """
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.6 * columns, 1.85 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        if titles is not None:
            axis.set_title(titles[number], fontsize=9)
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
    for axis, (title, matrix) in zip(axes.flat, matrices.items(), strict=True):
        matrix = np.asarray(matrix)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"
            text = f"{matrix[row, column]:,}\n{share:.0%}"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        axis.set(title=title, xlabel="predicted", xticks=range(3), yticks=range(3))
        axis.set_xticklabels(CLASS_NAMES, fontsize=8)
        axis.set_yticklabels(CLASS_NAMES, fontsize=8)
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


def plot_batches(counts) -> plt.Figure:
    """Show how many images of each class stand in each batch.

    Args:
        counts: table with a row a batch and a column a class.
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


def plot_intervals(rows, xlabel: str, reference: float | None = None, note: str = ""):
    """Show shares with their intervals, one below the other.

    Args:
        rows: name -> (value, low, high), from 0 to 1.
        xlabel: what the shares are.
        reference: a published value to draw as a line.
        note: what that line is.
    """
    figure, axis = plt.subplots(figsize=(7, 0.9 + 0.42 * len(rows)))
    for place, (value, low, high) in enumerate(rows.values()):
        axis.plot([low, high], [place, place], color="#0072B2", marker="|", linestyle="-")
        axis.plot(value, place, color="#0072B2", marker="o")
        axis.annotate(
            f"{value:.3f}",
            (value, place),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    if reference is not None:
        axis.axvline(reference, color="#D55E00", linestyle="--", marker="", label=note)
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1))
    axis.set(xlabel=xlabel, yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.7))
    axis.set_yticklabels(rows)
    axis.grid(axis="x")
    return figure


def plot_reliability(curves: dict) -> plt.Figure:
    """Show how often predictions are right, over how sure they are.

    Args:
        curves: name -> (confidence, accuracy, counts), of `calibration.reliability_curve`.
    """
    figure, axes = plt.subplots(2, 1, figsize=(5, 5), sharex=True, height_ratios=(3, 1))
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
        axis.text(
            left + wide / 2,
            tall / 2 + 0.08,
            f"{height} x {height} x {depth}",
            rotation=60,
            fontsize=8,
            ha="left",
            va="bottom",
            rotation_mode="anchor",
        )
        axis.text(
            left + wide / 2,
            -tall / 2 - 0.08,
            name,
            rotation=-60,
            fontsize=8,
            ha="left",
            va="top",
            rotation_mode="anchor",
        )
        left += wide + 0.22
    axis.set(xlim=(-0.2, left + 0.6), ylim=(-3.9, 3.5))
    axis.axis("off")
    return figure
