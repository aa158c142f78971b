"""What COVIDx is made of: counted from the metadata at hand, else shown from an earlier count.

`python -m xraylib.covidx_counts` counts and keeps the tables for readers without the metadata.
"""

import pandas as pd

from xraylib import covidx, results
from xraylib.config import CLASS_NAMES

COUNTS, REASONS = "covidx_counts", "covidx_reasons"
COMMAND = "python -m xraylib.covidx_counts"
DATA = "the sources' metadata and the report's lists"


def count_all() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Count what the report's lists name and what the rules choose from the metadata at hand.

    Returns:
        images by chosen_by (`lists` or `rules`), source and class; and what the rules leave out,
        by source and reason.

    Raises:
        FileNotFoundError: the lists or the metadata of a source are not there.
    """
    lists, rules = covidx.by_lists(), covidx.by_rules()
    missing = set(covidx.NEEDED) - set(rules.source)
    if missing:
        raise FileNotFoundError(f"no metadata of {', '.join(sorted(missing))}")
    of_lists, (of_rules, reasons) = covidx.count(lists)[0], covidx.count(rules)
    counts = pd.concat({"lists": of_lists, "rules": of_rules}, names=["chosen_by"])
    return counts.reset_index(), reasons


def tables() -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return the tables of `count_all`, now or from an earlier count, and where they come from."""
    try:
        return *count_all(), "counted now from the metadata at hand"
    except FileNotFoundError:
        counts, reasons = (results.load("real", name) for name in (COUNTS, REASONS))
        counts = counts[["chosen_by", "source", *CLASS_NAMES, "total"]]
        return counts, reasons[["source", "reason", "images"]], results.origin("real", COUNTS)


def main() -> None:
    """Count, print and keep both tables."""
    for name, table in zip((COUNTS, REASONS), count_all(), strict=True):
        print(table.to_string(index=False), end="\n\n")
        results.save(table.assign(data=DATA), "real", name, COMMAND)


if __name__ == "__main__":
    main()
