"""The report's own file lists: read them, split them with their seed, count who leaked."""

from pathlib import Path

import pandas as pd

from xraylib import report, splitting
from xraylib.config import CLASS_NAMES, RunConfig, home

LISTS = ("train_split_v3.txt", "test_split_v3.txt")  # in the order in which the report joined them


def read_lists(folder=None) -> pd.DataFrame:
    """Read the published lists, lines of `patient filename label [view or source]`.

    Args:
        folder: of the two lists; by default `report` in the home's data folder.

    Returns:
        a row an image: path (a bare file name), patient_id, label, and what follows it in the
        column view.

    Raises:
        FileNotFoundError: a list is not there.
        ValueError: a line has no label; names file and line.
    """
    folder = Path(folder) if folder else home("data") / "report"
    rows = []
    for name in LISTS:
        lines = (folder / name).read_text("utf8").splitlines()
        for number, line in enumerate(lines, 1):
            fields = line.split()
            label = next((i for i in range(2, len(fields)) if fields[i] in CLASS_NAMES), None)
            if label is None:
                raise ValueError(f"{folder / name}, line {number}: no label in {line!r}")
            view = " ".join(fields[label + 1 :])
            rows.append((" ".join(fields[1:label]), fields[0], fields[label], view))
    return pd.DataFrame(rows, columns=["path", "patient_id", "label", "view"])


def leaked_images(manifest: pd.DataFrame, label: str = "COVID-19") -> tuple[int, int]:
    """Count the test images of a class whose patient also has images in training.

    Args:
        manifest: with label, patient_id and `split` filled.
        label: the class.

    Returns:
        how many leaked, and how many test images of the class there are.
    """
    test = manifest[(manifest.split == "test") & (manifest.label == label)]
    known = set(manifest.patient_id[manifest.split == "train"])
    return int(test.patient_id.isin(known).sum()), len(test)


def replay_leak() -> tuple[int, int, str]:
    """Split the report's lists with the report's seed and count the leaked COVID-19 images.

    Returns:
        how many leaked, of how many test images, and where the count comes from: the lists if
        they are at hand, else an earlier replay kept in `report`.
    """
    try:
        images = read_lists()
    except FileNotFoundError:
        return *report.LEAKED_COVID_TEST_IMAGES, "counted earlier; the lists are not at hand"
    split = splitting.split_images(images, RunConfig().seed)
    return *leaked_images(split), "replayed now from the published lists"
