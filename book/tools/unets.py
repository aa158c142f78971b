"""U-Nets compared for the book: by what they learnt from, on hospitals that they never saw."""

import json
from pathlib import Path

import pandas as pd
from sklearn.model_selection import GroupKFold

from xraylib import images, lungs, sources
from xraylib.config import CLASS_NAMES, home
from xraylib.lungs import UNetConfig, judge_unet, summarise_overlap, train_unet
from xraylib.metrics import dice
from xraylib.sources import experts

HOSPITALS = UNetConfig(  # the plain U-Net of Figure 3, small enough to come with the package
    dataset="hospitals",
    size=64,
    filters=8,
    encoder="scratch",
    batch_size=16,
    epochs=10,
    steps=50,
    learning_rate=0.003,
    maps=len(lungs.HEART),
    patience=99,
    test_share=0.2,
    val_share=0.08,
)
LARGER = HOSPITALS.but(
    filters=16,
    epochs=20,
    borrowed_greys=0.75,  # or a new hospital's film gets the lungs of whoever drew similar ones
    test_share=0.01,
    val_share=0.05,
)
FOLDS = 5


def train_in_stages(pairs: pd.DataFrame, config: UNetConfig = HOSPITALS, size=96, epochs=7) -> Path:
    """Train on small images first, and then on larger ones, which cost more.

    The pairs are as in `leave_hospitals_out`. The configuration is that of the first stage; `size`
    and `epochs` are of the second, which follows from it. Returns the run folder of the last stage;
    both have the same split.
    """
    small = train_unet(pairs, config)
    rate = config.learning_rate / 2
    return train_unet(pairs, config.but(size=size, epochs=epochs, learning_rate=rate), start=small)


def train_larger(pairs: pd.DataFrame, config: UNetConfig = LARGER) -> Path:
    """Train the U-Net with twice the filters, up to the size of the report's profile."""
    return train_in_stages(pairs, config, size=128, epochs=12)


def leave_hospitals_out(pairs: pd.DataFrame, hospitals, config=LARGER) -> pd.DataFrame:
    """Judge larger U-Nets on hospitals whose masks, images and patients they have never seen.

    The pairs are those of `sources.lung_pairs`: a path, a mask_path, a patient_id, a label, a
    source (the hospital) and heart. Hospitals are left out one after the other; `config` is as in
    `train_larger`. Returns the rows of `hospital_rows` for each.
    """
    rows = []
    for hospital in hospitals:
        unseen = pairs[pairs.source == hospital]
        taught = pairs[~pairs.patient_id.isin(unseen.patient_id)]
        names = " + ".join(sorted(taught.source.unique()))
        names += "" if config.borrowed_greys else ", own greys"
        rows += hospital_rows(train_larger(taught, config), unseen, names)
    return pd.DataFrame(rows)


def hospital_rows(weights, unseen: pd.DataFrame, trained_on: str, hearts=()) -> list[dict]:
    """Judge one U-Net, as of `lungs.load_unet`, on the pairs of one hospital that it has not seen.

    `trained_on` is what to call the training set. The maps, `hearts`, are of `lungs.HEART`;
    without, the automatic one, "drawn", and the one of the hospital's own convention. Returns a row
    for each map, and one more for the healthy lungs alone: trained_on, judged_on, map, and
    `summarise_overlap`.
    """
    source, rows = unseen.source.iloc[0], []
    for heart in hearts or (lungs.HEART[0], unseen.heart.iloc[0]):
        judged = judge_unet(weights, unseen, heart)
        row = {"trained_on": trained_on, "judged_on": source, "map": heart}
        rows.append(row | summarise_overlap(judged))
    healthy = judged[judged.label == CLASS_NAMES[0]]
    if len(healthy):
        rows.append(row | {"judged_on": f"{source}, healthy"} | summarise_overlap(healthy))
    return rows


def judge_in_folds(pairs: pd.DataFrame) -> dict:
    """Judge small U-Nets on patients left out, in folds of one hospital; returns a row as above."""
    pairs, parts = pairs.reset_index(drop=True), []
    for train, test in GroupKFold(FOLDS).split(pairs, groups=pairs.patient_id):
        folder = train_in_stages(pairs.iloc[train], HOSPITALS.but(test_share=0.01))
        parts.append(judge_unet(folder, pairs.iloc[test], pairs.heart.iloc[0]))
    source = pairs.source.iloc[0]
    row = {
        "trained_on": f"{source}, {FOLDS} folds",
        "judged_on": source,
        "map": pairs.heart.iloc[0],
    }
    return row | summarise_overlap(pd.concat(parts))


def compare_training(real, phantom, config: UNetConfig | None = None) -> pd.DataFrame:
    """Compare U-Nets trained on phantoms, on real pairs, and on both in turn.

    `real` and `phantom` are manifests with masks. Returns a row for each of the three: trained_on,
    train_seconds, and `summarise_overlap` on the test patients of the real pairs, which none of
    them saw. Section 3.2.3 of the report.
    """
    config = config or UNetConfig()
    drawn = train_unet(phantom, config.but(dataset="phantom"))
    folders = {
        "phantoms": drawn,
        "real": train_unet(real, config),
        "phantoms, then real": train_unet(real, config, start=drawn),
    }
    pairs = lungs.split_pairs(lungs.check_pairs(real), config)
    test, rows = pairs[pairs.split == "test"], []
    for name, folder in folders.items():
        seconds = json.loads((folder / "metrics.json").read_text())["train_seconds"]
        row = {"trained_on": name, "train_seconds": seconds}
        rows.append(row | summarise_overlap(judge_unet(folder, test)))
    return pd.DataFrame(rows)


def annotators_agree() -> pd.DataFrame:
    """Return how far the v7labs annotators and the radiologists agree on the same whole images.

    That is filename, patient_id, dice of every image that both have drawn, the mask drawn on it; a
    `FileNotFoundError` says that a set is missing.
    """
    copies = sources.read_set_table("darkcovidnet", "metadata.csv")
    wholes = sources.covid_marks().set_index("filename")
    both = copies[copies["mask"].isin(sources.fitting_masks()) & copies.filename.isin(wholes.index)]
    place, masks = home("data") / "darkcovidnet" / "masks", {}
    for row in both.itertuples():
        masks[row.filename] = images.read_mask(place / row.mask)
    won = sources.won_back_masks()
    masks |= dict(zip(won.filename, won.whole_mask, strict=True)) if len(won) else {}
    for name in won.filename[won.reason != ""]:
        masks.pop(name)
    rows = []
    for name, mask in sorted(masks.items()):
        drawn = images.read_mask(wholes.lungs_path[name])
        rows.append(
            (name, wholes.patient_id[name], dice(experts.fit_mask(mask, drawn.shape), drawn))
        )
    return pd.DataFrame(rows, columns=["filename", "patient_id", "dice"])
