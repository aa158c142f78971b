"""Figures of concepts: the patches that stand for them, and what class scores owe to them."""

import matplotlib.pyplot as plt
import numpy as np

from xraylib.patches import Patches


def plot_patches(rows, patches: Patches, n: int = 8) -> plt.Figure:
    """Show concepts by their most typical patches, a row a concept.

    Of each image at most one patch is shown, so that a row shows what images share.

    Args:
        rows: sequence of (title, concept).
        patches: that the concepts' places refer to.
        n: patches in a row.
    """
    figure, axes = plt.subplots(len(rows), n, figsize=(7.2, 0.85 * len(rows) + 0.2), squeeze=False)
    for line, (title, concept) in zip(axes, rows, strict=True):
        _, first = np.unique(patches.image_ids[concept.members], return_index=True)
        for axis, place in zip(line, concept.members[np.sort(first)], strict=False):
            axis.imshow(patches.picture(place), cmap="gray", vmin=0, vmax=255)
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure


def plot_sensitivity(table, names=None) -> plt.Figure:
    """Show the sensitivity of a class score to each concept, beside random concepts.

    Args:
        table: rows of one class of `concept_tables.score_networks`, of one or several networks.
        names: concept -> what it shows, written behind its own name.
    """
    names, order = names or {}, table.concept.unique()[::-1].tolist()
    figure, axis = plt.subplots(figsize=(7.2, 0.3 * len(order) + 1.3))
    for network, part in table.groupby("network", sort=False):
        part = part.set_index("concept").loc[order]
        (line,) = axis.plot(part.sensitivity, range(len(order)), linestyle="", label=network)
        low, high = part.random_low.iloc[0], part.random_high.iloc[0]
        axis.axvspan(low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axis.axvline(0, color="black", linestyle="-", marker="", linewidth=0.8)
    labels = [f"{name}: {names[name]}" if name in names else name for name in order]
    axis.set_yticks(range(len(order)), labels, fontsize=9)
    axis.set_xlabel("sensitivity of the class score (shaded: 95 % of random concepts)")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axis.grid(axis="x")
    return figure
