"""Figures of the comparisons: the grid of views, the factorial's effects, the sweep."""

import matplotlib.pyplot as plt
import numpy as np


def plot_grid(table, value: str = "accuracy", title: str = "") -> plt.Figure:
    """Show a figure of merit for every training view (rows) and test view (columns).

    Args:
        table: a row a pair, with train_view, test_view, the value and its low and high end.
        value: column to show.
        title: of the figure.
    """
    names = list(table.train_view.unique())
    cells = table.set_index(["train_view", "test_view"])
    figure, axis = plt.subplots(figsize=(1.6 + 0.95 * len(names), 1.4 + 0.72 * len(names)))
    shown = np.array([[cells.loc[(a, b), value] for b in names] for a in names])
    axis.imshow(shown, cmap="cividis", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shown):
        cell = cells.loc[(names[row], names[column])]
        text = f"{share:.2f}\n[{cell[f'{value} low']:.2f}, {cell[f'{value} high']:.2f}]"
        colour = "black" if share > 0.55 else "white"
        weight = "bold" if row == column else "normal"
        axis.text(
            column, row, text, ha="center", va="center", color=colour, fontsize=8, fontweight=weight
        )
    ticks = range(len(names))
    axis.set(xticks=ticks, yticks=ticks, xlabel="tested on", ylabel="trained on", title=title)
    axis.set_xticklabels(names, rotation=30, ha="right", fontsize=9)
    axis.set_yticklabels(names, fontsize=9)
    axis.spines[:].set_visible(False)
    return figure


def plot_effects(table) -> plt.Figure:
    """Show the factorial's effects with their intervals, one panel a measure.

    Args:
        table: of `comparisons.effects`: measure, factor, effect, low, high.
    """
    measures = list(table.measure.unique())
    figure, axes = plt.subplots(1, len(measures), figsize=(9, 3.2), sharey=True)
    for axis, measure in zip(np.atleast_1d(axes), measures, strict=True):
        part = table[table.measure == measure].reset_index(drop=True)
        axis.axvline(0, color="black", linestyle="-", marker="", linewidth=0.8)
        for place, row in part.iterrows():
            axis.plot(
                [row.low, row.high], [place, place], color="#0072B2", marker="|", linestyle="-"
            )
            axis.plot(row.effect, place, color="#0072B2", marker="o")
        axis.set(xlabel=f"change of {measure}", yticks=range(len(part)))
        axis.set_yticklabels(part.factor)
        axis.grid(axis="x")
    axis.invert_yaxis()
    return figure


def plot_sweep(table, value: str = "accuracy") -> plt.Figure:
    """Show a figure of merit over the confounding of the training set, a line a view.

    Args:
        table: a row a point, with confounding, view, the value and its low and high end.
        value: column to show.
    """
    figure, axis = plt.subplots(figsize=(7, 3.6))
    for shift, (name, part) in enumerate(table.groupby("view", sort=False)):
        places = part.confounding + 0.01 * shift  # side by side, so that no interval hides another
        spread = [part[value] - part[f"{value} low"], part[f"{value} high"] - part[value]]
        axis.errorbar(places, part[value], yerr=spread, label=name, capsize=3)
    axis.set(xlabel="confounding of source and class in training", ylabel=value, ylim=(0, 1))
    axis.legend(loc="lower left")
    return figure
