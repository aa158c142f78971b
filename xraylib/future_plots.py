"""Figures of chapter 6: stacks step by step, their learning curve, tuning, up-sampling."""

import matplotlib.pyplot as plt

FOLDS = {"image": ("#0072B2", "o"), "patient": ("#D55E00", "s")}  # a second cue: the marker
WORDS = {"recall": "recall", "precision": "precision", "ece": "calibration error"}


def plot_stacks(table, targets: dict | None = None) -> plt.Figure:
    """Show the accuracy of recipes, a row a recipe, a mark a way to fold.

    Args:
        table: of `stacks.folds_table`: recipe, folds, accuracy, low, high, n, seed. Accuracy and
            interval ends are averaged over the seeds; each seed is a faint mark.
        targets: published accuracies to draw as lines, folds -> accuracy.
    """
    names = list(table.recipe.unique())
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.5 * len(names)))
    for shift, (way, part) in zip((-0.12, 0.12), table.groupby("folds"), strict=False):
        colour, marker = FOLDS[way]
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
        trials: of `tuning.best_trials`: trial, state, loss.
        importance: of `tuning.importances`, setting -> share.
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
    left.legend(loc="upper right")
    shown = importance.sort_values()
    right.barh([name.replace("_", " ") for name in shown.index], shown, color="#0072B2")
    right.set(xlabel="share of importance", xlim=(0, 1))
    return figure


def plot_upsampling(table) -> plt.Figure:
    """Show recall, precision and calibration of COVID-19 over the rate, a panel each.

    Args:
        table: of `tuning.upsampling_study`: rate, and each figure with its low and high end.
    """
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
    for axis, (name, word) in zip(axes, WORDS.items(), strict=True):
        spread = [table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]]
        axis.errorbar(table.rate, table[name], yerr=spread, color="#0072B2", marker="o", capsize=3)
        axis.axvline(0.30, color="black", linestyle=":", marker="", linewidth=1)
        axis.set(xlabel="share of COVID-19 in a batch", title=f"{word} of COVID-19")
        axis.set_ylim(0, None if name == "ece" else 1.02)
    axes[0].text(0.31, 0.05, "the report's", fontsize=8)
    return figure


def plot_learning_curve(table) -> plt.Figure:
    """Show accuracy over the number of images trained on.

    Args:
        table: of `ceiling.learning_curve`.
    """
    figure, axis = plt.subplots(figsize=(6, 3.4))
    spread = [table.accuracy - table.low, table.high - table.accuracy]
    axis.errorbar(table.images, table.accuracy, yerr=spread, color="#0072B2", marker="o", capsize=3)
    axis.set(xscale="log", xlabel="training images (logarithmic)", ylabel="accuracy")
    axis.set_xticks(table.images, [f"{images:.0f}" for images in table.images])
    axis.minorticks_off()
    return figure
