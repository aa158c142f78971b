"""Settings of a run, the profiles of the book, and the folder where everything is kept."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from xraylib import files

CLASS_NAMES = ("normal", "pneumonia", "COVID-19")  # the report's order: 0, 1, 2
COVID = CLASS_NAMES.index("COVID-19")
IMAGE_SIZE = 224  # what VGG16 was trained on, and the report's input


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes. The defaults are the report's Table 3.

    Attributes:
        dataset: `phantom`, `darkcovidnet`, `covidx`, or the path of a folder of class folders.
        phantom_counts: phantoms per class, in the order of `CLASS_NAMES`.
        scale: share of the phantoms that chapters draw for experiments of their own, see `counts`.
        confounding: how far a phantom's source goes with its class, 0 (not at all) to 1.
        split_by: `patient` (no patient on two sides) or `image` (the report's way).
        scaling: `vgg16` (its own preprocessing) or `report` (grey values times 1/255).
        upsampling_rate: share of COVID-19 in every training batch, 0 to 1; 0 switches it off.
        batch_size: images in a batch.
        epochs: passes over the images that are not COVID-19.
        learning_rate: Adam's learning rate at the first step.
        decay: per step: the rate at step t is learning_rate / (1 + decay * t).
        augmented_views: randomly transformed views per training image kept as features.
        on_the_fly: draw new random transforms in every epoch, as the report does, and compute
            their features anew each time: for machines with a GPU. Without, `augmented_views` are
            kept. Where nothing is transformed the two are the same, and features are kept.
        folds: parts of a cross-validation.
        fold_epochs: epochs where many trainings are compared (folds, grid, factorial); by then
            the accuracy on validation images has settled.
        grid_views: names in `experiments.VIEWS` that the grid trains and judges on.
        seed: seeds the split, the batches, the transforms and the head's first weights.
    """

    dataset: str = "darkcovidnet"
    phantom_counts: tuple[int, int, int] = (160, 100, 60)
    scale: float = 1.0
    confounding: float = 0.5
    split_by: str = "patient"
    scaling: str = "report"
    upsampling_rate: float = 0.30
    batch_size: int = 100
    epochs: int = 50
    learning_rate: float = 0.001
    decay: float = 0.001 / 10
    augmented_views: int = 3
    on_the_fly: bool = False
    folds: int = 5
    fold_epochs: int = 12
    grid_views: tuple[str, ...] = (
        "original",
        "segmented",
        "equalised",
        "segmented + equalised",
        "lungs erased",
        "lung box blacked out",
        "silhouette",
    )
    seed: int = 19910806  # the seed in the report's published lists

    def for_folds(self) -> "RunConfig":
        """Return the settings of trainings that are repeated in folds, on kept features."""
        return self.but(epochs=self.fold_epochs, on_the_fly=False)

    def counts(self, *phantoms: int) -> tuple[int, ...]:
        """Return how many phantoms of each class a chapter draws, scaled down where that is asked.

        At least a dozen are left of a class, so that each set of a split gets one.

        >>> RunConfig(scale=0.25).counts(160, 30, 0)
        (40, 12, 0)
        """
        return tuple(max(round(self.scale * n), min(n, 12)) for n in phantoms)

    def but(self, **changes) -> "RunConfig":
        """Return a copy with some settings changed."""
        return replace(self, **changes)


PROFILES = {
    "smoke": RunConfig(  # does every chapter run? The numbers mean nothing
        dataset="phantom",
        phantom_counts=(30, 24, 18),
        scale=0.15,
        epochs=6,
        augmented_views=1,
        folds=2,
        fold_epochs=2,
        grid_views=("original", "segmented", "lungs erased"),
    ),
    "quick": RunConfig(
        dataset="phantom",
        batch_size=20,  # a few hundred images make too few batches of 100 to learn from
        epochs=25,
        augmented_views=2,
        folds=3,
        fold_epochs=7,
        grid_views=("original", "segmented", "lungs erased", "silhouette"),
    ),
    "real": RunConfig(dataset="darkcovidnet"),
    # sections 2 and 3 to the letter: the authors' split, and Table 2 anew in every epoch
    "report": RunConfig(dataset="covidx", split_by="image", on_the_fly=True),
    # the same for machines without a GPU
    "report_kept": RunConfig(dataset="covidx", split_by="image"),
}


def profile(name: str) -> RunConfig:
    """Return the settings of a profile by name; a `KeyError` lists the names there are."""
    if name not in PROFILES:
        raise KeyError(f"no profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def home(*parts: str) -> Path:
    """Return a folder below `XRAYLIB_HOME` (default: the user's cache folder), made if missing.

    It holds `data/`, `weights/`, `features/`, `masks/` and `runs/`. A `WriteError` says that the
    folder cannot be made.
    """
    root = os.environ.get("XRAYLIB_HOME") or platformdirs.user_cache_dir("xraylib-book")
    folder = Path(root).expanduser().absolute().joinpath(*parts)
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
