"""The figure of shortcuts."""

import matplotlib.pyplot as plt

from xraylib.shortcuts import QUESTIONS

LOOKS = {  # colour and a second cue
    "hospital": ("#D55E00", "X"),
    "class, known hospitals": ("#0072B2", "o"),
    "class, unseen hospitals": ("#009E73", "s"),
}


def plot_shortcuts(table) -> plt.Figure:
    """Show for each view how well it tells the hospital, and the class at home and elsewhere.

    Each answer is drawn between guessing (0) and always right (1), so that questions with two
    and with three answers can be compared. The way from the round to the square mark is what a
    new hospital costs.

    Args:
        table: of `shortcuts.measure`.
    """
    views = list(dict.fromkeys(table.view))[::-1]
    figure, axis = plt.subplots(figsize=(7.6, 1.2 + 0.5 * len(views)))
    for shift, (question, (colour, marker)) in enumerate(LOOKS.items()):
        part = table[table.question == question].set_index("view").loc[views]
        skill = [
            (part[name] - part.chance) / (1 - part.chance) for name in ("value", "low", "high")
        ]
        places = [place + 0.22 * (1 - shift) for place in range(len(views))]
        spread = [skill[0] - skill[1], skill[2] - skill[0]]
        axis.errorbar(
            skill[0],
            places,
            xerr=[gap.clip(lower=0) for gap in spread],
            color=colour,
            marker=marker,
            linestyle="none",
            capsize=2,
            label=QUESTIONS[question],
        )
    axis.axvline(0, color="0.4", linestyle=":")
    axis.set(yticks=range(len(views)), xlim=(-0.5, 1.05), xlabel="0 guessing, 1 always right")
    axis.set_yticklabels(views)
    axis.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=1, frameon=False)
    return figure
