"""Figures of class activation maps and of their checks."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable

from xraylib.cams import upscale


def plot_maps(rows, outlines=None) -> plt.Figure:
    """Show maps as radiograph | true cells | overlay, a row a map.

    Args:
        rows: sequence of (title, image uint8 (H, W), cells float (h, w)).
        outlines: bool (H, W) for each row: known regions whose borders are drawn.
    """
    height = 2.15 * len(rows) + 0.3
    figure, axes = plt.subplots(len(rows), 3, figsize=(7.2, height), squeeze=False)
    for line, (title, image, cells) in zip(axes, rows, strict=True):
        line[0].imshow(image, cmap="gray", vmin=0, vmax=255)
        line[0].set_ylabel("{}\n{} x {} cells".format(title, *cells.shape), fontsize=9)
        line[1].imshow(upscale(cells, cells.shape), cmap="inferno", vmin=0, vmax=1)
        line[2].imshow(image, cmap="gray", vmin=0, vmax=255)
        heatmap = upscale(cells, image.shape)
        line[2].imshow(heatmap, cmap="inferno", vmin=0, vmax=1, alpha=0.5)
    for line, outline in zip(axes, outlines if outlines is not None else [], strict=False):
        if outline.any():
            line[0].contour(outline, levels=[0.5], colors="#56B4E9", linewidths=1.2)
    for axis, name in zip(axes[0], ("radiograph", "true cells", "overlay"), strict=True):
        axis.set_title(name)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(cmap="inferno"), ax=axes, shrink=0.6, ticks=[0, 1])
    bar.set_label("normalised per image")
    return figure


def plot_layer_checks(table, check: str, region: str) -> plt.Figure:
    """Show one check of the maps at each layer, with intervals, beside its floors.

    Args:
        table: of `map_tables.layer_checks`; `maps` names the lines.
        check: which of its checks.
        region: what the maps should lie in.
    """
    figure, axis = plt.subplots(figsize=(7.2, 3.4))
    part = table[table.check == check]
    layers = list(part.layer.unique())
    for shift, (name, line) in enumerate(part.groupby("maps", sort=False)):
        places = np.arange(len(line)) + 0.1 * (shift - 1)  # so that no interval hides another
        spread = [line.value - line.low, line.high - line.value]
        axis.errorbar(places, line.value, yerr=spread, label=name, capsize=3)
    axis.set(xticks=range(len(layers)), ylabel=f"{check}:\n{region}")
    axis.set_xticklabels(layers, rotation=30, ha="right")
    axis.set_ylim(bottom=0)
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def plot_randomisation(correlations: dict, layer: str) -> plt.Figure:
    """Show how maps change while a model is destroyed layer by layer from the top.

    Args:
        correlations: name of the layer destroyed last -> rank correlation with the first maps,
            float (B,), from the top down.
        layer: where the maps are taken.
    """
    figure, axis = plt.subplots(figsize=(7.2, 3.2))
    places = range(1, len(correlations) + 1)
    values = np.array(list(correlations.values()))
    for number, line in enumerate(values.T):
        label = "one image each" if number == 0 else None
        axis.plot(
            [0, *places], [1, *line], color="#0072B2", alpha=0.5, linewidth=1, marker=".",
            linestyle="-", label=label,
        )  # fmt: skip
    axis.axhline(1, color="#D55E00", linestyle="--", marker="", label="edge detector")
    axis.axhline(0, color="black", linestyle="-", marker="", linewidth=0.8)
    axis.set(xticks=[0, *places], ylim=(-1.05, 1.1), ylabel=f"rank correlation,\n{layer}")
    axis.set_xticklabels(["none", *correlations], rotation=60, ha="right", fontsize=8)
    axis.set_xlabel("destroyed down to")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
