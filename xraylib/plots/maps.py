"""Figures of class activation maps, of their checks, and of concepts."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable

from xraylib.maps import upscale
from xraylib.plots.figures import letters


def _show_film(axis, image, cells=None, colours: str = "inferno") -> None:
    """Show a radiograph, under the map that cells (h, w) make where some are given."""
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    if cells is not None:
        axis.imshow(upscale(cells, image.shape), cmap=colours, vmin=0, vmax=1, alpha=0.5)


def _show_cells(axis, cells) -> None:
    axis.imshow(upscale(cells, cells.shape), cmap="inferno", vmin=0, vmax=1)


def plot_maps(rows, outlines=None) -> plt.Figure:
    """Show maps as radiograph | true cells | overlay, one row per map.

    Args:
        rows: sequence of (title, image uint8 (H, W), cells float (h, w)).
        outlines: bool (H, W) for each row: known regions whose borders are drawn.
    """
    height = 1.85 * len(rows) + 0.3
    figure, axes = plt.subplots(len(rows), 3, figsize=(6.3, height), squeeze=False)
    for line, (title, image, cells) in zip(axes, rows, strict=True):
        _show_film(line[0], image)
        line[0].set_ylabel("{}\n{} x {} cells".format(title, *cells.shape), fontsize=9)
        _show_cells(line[1], cells)
        _show_film(line[2], image, cells)
    for line, outline in zip(axes, outlines if outlines is not None else [], strict=False):
        if outline.any():
            line[0].contour(outline, levels=[0.5], colors="#56B4E9", linewidths=1.2)
    for axis, name in zip(axes[0], ("radiograph", "true cells", "overlay"), strict=True):
        axis.set_title(name)
    _finish(figure, axes)
    return figure


def plot_colour_scales(image, cells, live) -> plt.Figure:
    """Show one map in the report's red to blue, in this book's colours, and what of it is live.

    Args:
        image: uint8 (H, W).
        cells: float (h, w).
        live: bool (h, w), the cells that reach the score.
    """
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 3.0))
    for axis, colours in zip(axes, ("jet", "inferno"), strict=False):
        _show_film(axis, image, cells, colours)
    _show_cells(axes[2], cells)
    for row, column in np.argwhere(~np.asarray(live, bool)):
        corner = column - 0.5, row - 0.5
        axes[2].add_patch(
            plt.Rectangle(corner, 1, 1, facecolor="none", edgecolor="#56B4E9", hatch="xx")
        )
    names = ("as in the report", "as in this book", "true cells; hatched: dead")
    for axis, name in zip(axes, names, strict=True):
        axis.set(title=name, xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure


def plot_map_grid(images, names, maps, notes=None, outlines=None) -> plt.Figure:
    """Show several maps of each image: the radiograph, then true cells | overlay for each kind.

    Args:
        images: uint8 (N, H, W), a row each.
        names: what each image is (N,).
        maps: name of the kind, such as a method or a network -> cells float (N, h, w).
        notes: likewise -> texts (N,) below the overlays.
        outlines: bool (N, H, W), known regions whose borders are drawn.
    """
    columns = 1 + 2 * len(maps)
    size = 1.35 * columns, 1.45 * len(images) + 0.5
    figure, axes = plt.subplots(len(images), columns, figsize=size, squeeze=False)
    letter = letters(size[0])
    for i, (line, image, name) in enumerate(zip(axes, images, names, strict=True)):
        _show_film(line[0], image)
        line[0].set_ylabel(name, fontsize=letter)
        if outlines is not None and outlines[i].any():
            line[0].contour(outlines[i], levels=[0.5], colors="#56B4E9", linewidths=1.2)
        for k, (kind, cells) in enumerate(maps.items()):
            left, right = line[1 + 2 * k : 3 + 2 * k]
            _show_cells(left, cells[i])
            _show_film(right, image, cells[i])
            right.set_xlabel(notes[kind][i] if notes else "", fontsize=letter)
    axes[0, 0].set_title("radiograph", fontsize=letter)
    for k, kind in enumerate(maps):
        axes[0, 1 + 2 * k].set_title(f"{kind}\ntrue cells", fontsize=letter)
        axes[0, 2 + 2 * k].set_title("overlay", fontsize=letter)
    _finish(figure, axes)
    return figure


def plot_curves(drawn: dict, styles: dict) -> plt.Figure:
    """Show mean insertion and deletion curves, one line per kind of map.

    Args:
        drawn: what `maps.draw_curves` returns.
        styles: what each kind of map is called in the legend, in order.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.4), sharey=True)
    for axis, check in zip(axes, ("insertion", "deletion"), strict=True):
        for kind, name in styles.items():
            part = drawn[kind, check]
            probs = np.mean([curve.probs for curve in part], axis=0)
            area = np.mean([curve.area for curve in part])
            axis.plot(part[0].shares, probs, label=f"{name}: {area:.2f}")
        axis.set(title=check, xlabel="share of the pixels replaced", ylim=(0, 1))
        axis.legend(title="area", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0].set_ylabel("mean probability\nof the class")
    return figure


def plot_layer_checks(table, check: str, region: str) -> plt.Figure:
    """Show one check of the maps at each layer, with intervals, beside its floors.

    Args:
        table: what `maps.layer_checks` returns; `maps` names the lines.
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
        look = {"color": "#0072B2", "alpha": 0.5, "linewidth": 1, "linestyle": "-", "marker": "."}
        axis.plot([0, *places], [1, *line], label=label, **look)
    axis.axhline(1, color="#D55E00", linestyle="--", marker="", label="edge detector")
    axis.axhline(0, color="black", linestyle="-", marker="", linewidth=0.8)
    axis.set(xticks=[0, *places], ylim=(-1.05, 1.1), ylabel=f"rank correlation,\n{layer}")
    axis.set_xticklabels(["none", *correlations], rotation=60, ha="right", fontsize=9)
    axis.set_xlabel("destroyed down to")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _finish(figure, axes) -> None:
    """Take the frames off, and say what the colours mean."""
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(cmap="inferno"), ax=axes, shrink=0.6, ticks=[0, 1])
    letter = letters(figure.get_figwidth())
    bar.ax.tick_params(labelsize=letter)
    bar.set_label("normalised per image", fontsize=letter)


def plot_patches(rows, patches, n: int = 8) -> plt.Figure:
    """Show concepts by their most typical patches, one row per concept.

    Of each image at most one patch is shown, so that a row shows what images share.

    Args:
        rows: sequence of (title, concept).
        patches: the `studies.Patches` that the concepts' places refer to.
        n: patches in a row.
    """
    figure, axes = plt.subplots(len(rows), n, figsize=(7.2, 0.85 * len(rows) + 0.2), squeeze=False)
    for line, (title, concept) in zip(axes, rows, strict=True):
        _, first = np.unique(patches.image_ids[concept.members], return_index=True)
        for axis, place in zip(line, concept.members[np.sort(first)], strict=False):
            _show_film(axis, patches.picture(place))
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure


def plot_sensitivity(table, names=None) -> plt.Figure:
    """Show the sensitivity of a class score to each concept, beside random concepts.

    Args:
        table: rows of one class of `studies.score_networks`, of one or several networks.
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
