"""What a better stack is made of: a small table of recipes, and the inputs that each asks for."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from xraylib import features
from xraylib.preprocessing import Preprocessing

TAPS = tuple(f"block{number}_pool" for number in range(1, 6))  # one a block of VGG16
CHANNELS = (64, 128, 256, 512, 512)
LIVE = 6  # rows and columns of block5's maps that reach block6's pool, see `build_head`
FINE = 14  # rows and columns of the maps within block 5, before its pool
BLOCK5 = ("block5_conv1", "block5_conv2", "block5_conv3")
ORIGINAL = Preprocessing()
CLAHE = Preprocessing(equalise="clahe")
EQUALISED = Preprocessing(equalise="global")
ALL_VIEWS = (ORIGINAL, CLAHE, EQUALISED)
OF_KERNEL = ("kernel", "gamma", "strength")  # settings that a network has no use for
OF_NETWORK = (  # and those that an SVM has none for
    "transforms",
    "mixup",
    "smoothing",
    "weight_decay",
    "learning_rate",
    "dropout",
    "width",
    "upsampling_rate",
    "epochs",
    "members",
)
OF_FINE_TUNING = ("unfrozen",)  # and those that nothing else has a use for


@dataclass(frozen=True)
class Recipe:
    """One way from frozen features to probabilities.

    Attributes:
        name: in the tables.
        kind: `report_head` (as trained in section 3.4), `svm`, `logistic`, `block6`, `blend`
            (the mean of the probabilities of an `svm` and a `block6`), or `fine_tuned`, see
            `fine_tuning`.
        views: still views of an image, side by side.
        blocks: blocks of VGG16 whose features are pooled, 1 to 5.
        pooling: statistics over the 7 x 7 cells of a channel, of `mean`, `max`, `std`; or
            `("maps",)`: no pooling, all cells side by side.
        root: take the square root first, which tames the few very large activations.
        standardise: each feature to mean 0 and variance 1; else each image to length 1.
        kernel: of the SVM, `linear` or `rbf` (its width is gamma / number of features).
        gamma: see `kernel`.
        strength: C of the SVM and of the logistic regression: larger fits closer.
        transforms: random views (Table 2) an image that a network is trained on, beside `views`.
        mixup: parameter of mixup's Beta distribution; 0 switches it off.
        smoothing: of the labels, 0 to 1.
        weight_decay: of AdamW.
        learning_rate: of AdamW at the start; it falls to 0 along a cosine.
        dropout: before the logits, and half of it on the pooled features.
        width: units of block6's dense layer.
        upsampling_rate: share of COVID-19 in a batch; 0 switches it off.
        epochs: of a network.
        members: networks of different seeds, averaged.
        unfrozen: convolutions of block 5 that learn in a `fine_tuned`, 1 to 3.
    """

    name: str
    kind: str
    views: tuple[Preprocessing, ...] = (ORIGINAL,)
    blocks: tuple[int, ...] = (2, 3, 4, 5)
    pooling: tuple[str, ...] = ("mean", "max", "std")
    root: bool = True
    standardise: bool = True
    kernel: str = "rbf"
    gamma: float = 0.3
    strength: float = 3.0
    transforms: int = 0
    mixup: float = 0.0
    smoothing: float = 0.0
    weight_decay: float = 0.0
    learning_rate: float = 0.001
    dropout: float = 0.5
    width: int = 64
    upsampling_rate: float = 0.0
    epochs: int = 12
    members: int = 1
    unfrozen: int = 0

    def but(self, **changes) -> "Recipe":
        """Return a copy with some settings changed."""
        return replace(self, **changes)

    @property
    def has_network(self) -> bool:
        return self.kind in ("block6", "blend", "fine_tuned")

    @property
    def learning(self) -> tuple[str, ...]:
        """Names of the convolutions of block 5 that are `unfrozen`."""
        return BLOCK5[len(BLOCK5) - self.unfrozen :]

    @property
    def frozen_end(self) -> str:
        """Name of the layer before those, the last one that does not learn."""
        return ("block4_pool", *BLOCK5)[len(BLOCK5) - self.unfrozen]


def inputs(manifest: pd.DataFrame, recipe: Recipe, transform_seed: int = 0) -> dict:
    """Return what a recipe is fitted on and judged on, from kept features.

    Args:
        manifest: N rows.
        recipe: which views, blocks and statistics.
        transform_seed: of the random views, where the recipe has them.

    Returns:
        `pooled` float32 (N, D), and for recipes with a network `maps` float16 (N, V, S, S, 512),
        the recipe's views first and then its random views; S is 6, or 14 to be fine-tuned on.
    """
    found = {"pooled": np.empty((len(manifest), 0), np.float32)}
    if recipe.blocks:
        maps = [features.extract(manifest, view, "vgg16", taps=TAPS) for view in recipe.views]
        found["pooled"] = np.concatenate([pooled(view, recipe) for view in maps], axis=1)
    if recipe.has_network:
        views = [*recipe.views] + [replace(ORIGINAL, transform="table2")] * recipe.transforms
        seeds = [0] * len(recipe.views) + [transform_seed + k for k in range(recipe.transforms)]
        found["maps"] = np.stack(
            [_maps(manifest, recipe, *pair) for pair in zip(views, seeds, strict=True)], axis=1
        )
    return found


def take(found: dict, rows) -> dict:
    """Return the inputs of some rows."""
    return {name: array[rows] for name, array in found.items()}


def pooled(maps: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return statistics of each channel over the cells of feature maps.

    Args:
        maps: float (N, 7, 7, 1472), the five blocks side by side.
        recipe: which blocks, which statistics, and whether their square root is taken.

    Returns:
        float32 (N, D).
    """
    ends = np.cumsum(CHANNELS)
    parts = []
    for block in recipe.blocks:
        cells = np.asarray(maps[..., ends[block - 1] - CHANNELS[block - 1] : ends[block - 1]])
        cells = cells.astype(np.float32).reshape(len(cells), -1, cells.shape[-1])
        cells = np.sqrt(cells) if recipe.root else cells
        if recipe.pooling == ("maps",):
            parts.append(cells.reshape(len(cells), -1))
        else:
            parts += [getattr(cells, statistic)(axis=1) for statistic in recipe.pooling]
    return np.concatenate(parts, axis=1)


def _maps(manifest, recipe: Recipe, view: Preprocessing, seed: int) -> np.ndarray:
    if recipe.kind == "fine_tuned":
        taps = (recipe.frozen_end,)
        return features.extract(manifest, view, "vgg16", seed, taps=taps, side=FINE)
    maps = features.extract(manifest, view, "vgg16", seed, taps=TAPS)
    return np.asarray(maps[:, :LIVE, :LIVE, -CHANNELS[-1] :])


HEAD = Recipe("the report's head", "report_head", views=())
LINEAR = Recipe(
    "linear SVM on the maps of blocks 4 and 5",
    "svm",
    blocks=(4, 5),
    pooling=("maps",),
    standardise=False,
    kernel="linear",
)
LOGISTIC = Recipe("logistic regression on pooled features", "logistic", strength=0.001)
SVM = Recipe("SVM on pooled features", "svm")
SVM_VIEWS = SVM.but(name="SVM on pooled features of three views", views=ALL_VIEWS)
BLOCK6 = Recipe(
    "block6 stack",
    "block6",
    views=ALL_VIEWS,
    mixup=0.3,
    smoothing=0.1,
    weight_decay=1e-3,
    learning_rate=0.002,
    width=256,
    epochs=16,
)
BLEND = BLOCK6.but(name="block6 stack and SVM", kind="blend")
SLICE = Recipe(
    "block5_conv3 fine-tuned",
    "fine_tuned",
    blocks=(),
    unfrozen=1,
    mixup=0.3,
    smoothing=0.1,
    weight_decay=1e-3,
    learning_rate=3e-4,
    epochs=10,
)
WHOLE = SLICE.but(name="block5 fine-tuned", unfrozen=3)  # for machines with a GPU

RECIPES = (HEAD, LINEAR, LOGISTIC, SVM, SVM_VIEWS, BLOCK6, BLEND, SLICE)

MEANS = SVM.but(name="SVM on the means of block 5", blocks=(5,), pooling=("mean",), root=False)
ABLATION = (  # each adds one step to the one before it
    MEANS,
    MEANS.but(name="+ square root", root=True),
    SVM.but(name="+ maxima and spreads", blocks=(5,)),
    SVM.but(name="+ blocks 2 to 4"),
    SVM.but(name="+ locally equalised view", views=ALL_VIEWS[:2]),
    SVM.but(name="+ equalised view", views=ALL_VIEWS),
    BLEND.but(name="+ block6 stack"),
)
