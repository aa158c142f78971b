"""The ledger of the report's claims: what decides each of them, and what it decides.

The list is `report/claims.csv`. No verdict is written there: each is computed here by a function of
`DECIDERS`, from the authors' own counts, from code, or from the tables of this book's runs.
"""

import html
from collections.abc import Callable
from typing import NamedTuple

import cv2
import keras
import numpy as np
import pandas as pd

from xraylib import data, experiments, images, maps, metrics, network, phantoms, report
from xraylib.config import CLASS_NAMES, COVID, RunConfig

HOLDS, IN_PART = "holds", "holds in part"
FAILS, OPEN = "does not hold", "cannot be told from here"
VERDICTS = (HOLDS, IN_PART, FAILS, OPEN)
NO_GAIN = 1.0  # points: a claim of no gain holds where the whole interval is below
RUNS = ("real", "quick", "smoke")  # whose tables decide: the first that has the table


class Judged(NamedTuple):
    """What became of a claim."""

    verdict: str  # one of `VERDICTS`
    number: str  # what decides it, in words and numbers


def judge_claims() -> pd.DataFrame:
    """Judge every claim of the report.

    Returns:
        the claims with two more columns: verdict, one of `VERDICTS`, and number, what decides it.
        A claim that nothing here can decide, or whose run is still missing, is `OPEN`.
    """
    claims = report.load_claims()
    judged = [judge_claim(*row) for row in claims[["decided_by", "of"]].itertuples(index=False)]
    return claims.join(pd.DataFrame(judged))


def judge_claim(decided_by: str, of: str) -> Judged:
    """Judge one claim.

    Args:
        decided_by: name of a function of this file in `DECIDERS`; "" if nothing decides it.
        of: its arguments, split at semicolons; or why nothing decides the claim.
    """
    if not decided_by:
        return Judged(OPEN, of)
    arguments = [part.strip() for part in of.split(";")] if of else []
    try:
        return DECIDERS[decided_by](*arguments)
    except MissingRun as error:
        return Judged(OPEN, str(error))


class MissingRun(LookupError):
    """No run has measured what would decide a claim."""


class Row:
    """A row of a kept table, whose cells are asked for by name."""

    def __init__(self, cells: pd.Series):
        self.cells = cells

    def __getitem__(self, column: str):
        if column not in self.cells:
            raise MissingRun(f"the table has no column {column}")
        return self.cells[column]

    def interval(self, column: str) -> tuple[float, float, float]:
        """Return a value and the ends of its interval, in any of the forms that tables have."""
        ends = "low", "high"
        for joint in " ", "_":
            if f"{column}{joint}low" in self.cells:
                ends = f"{column}{joint}low", f"{column}{joint}high"
        return tuple(float(self[name]) for name in (column, *ends))

    @property
    def n(self) -> str:
        """Say of how many images, where the table does."""
        n = self.cells.get("n")
        return "" if n is None or pd.isna(n) else f", n = {int(n):,}"


def kept_table(name: str) -> tuple[pd.DataFrame, str]:
    """Return a table of results and, in words, the profile of its run; radiographs come first."""
    for profile in RUNS:
        try:
            return report.load_table(profile, name), f"; run {profile}"
        except FileNotFoundError:
            continue
    raise MissingRun(f"no run has measured the table {name} yet")


def row_where(table: pd.DataFrame, where: str) -> Row:
    """Return the first row whose columns have the values of a text such as `view=original`."""
    for condition in where.split(","):
        column, _, value = (part.strip() for part in condition.partition("="))
        if column not in table:
            raise MissingRun(f"the table has no column {column}")
        table = table[table[column].astype(str) == value]
    if table.empty:
        raise MissingRun(f"the table has no row with {where}")
    return Row(table.iloc[0])


def in_words(interval, form: str = ".3f") -> str:
    """Write a value and its interval."""
    value, low, high = (format(end, form) for end in interval)
    return f"{value} [{low}, {high}]"


def as_share(holding, number: str) -> Judged:
    """Judge a claim of several parts: all, some, or none of them hold."""
    holding = list(holding)
    return Judged(HOLDS if all(holding) else IN_PART if any(holding) else FAILS, number)


def as_one(holds: bool, number: str) -> Judged:
    """Judge a claim of one part."""
    return Judged(HOLDS if holds else FAILS, number)


def as_clear(holds: bool, fails: bool, number: str) -> Judged:
    """Judge a claim that an interval decides, or leaves open."""
    return Judged(HOLDS if holds else FAILS if fails else OPEN, number)


def counts_of(experiment: str) -> np.ndarray:
    """Return the confusion matrix of an experiment of the report."""
    return np.array(report.CONFUSION[experiment])


class Share(NamedTuple):
    """How many images something counts, and of how many."""

    part: int
    whole: int

    @property
    def ends(self) -> tuple[float, float]:
        return metrics.wilson_interval(*self)

    @property
    def percent(self) -> int:
        return round(100 * self.part / self.whole)

    def __str__(self) -> str:
        text = report.percent(self.part / self.whole, *self.ends)
        return f"{text}, {self.part:,} of {self.whole:,}"


def share_of(experiment: str, measure: str) -> Share:
    """Count the test images of an experiment: all that are called right, or some for COVID-19."""
    counts = counts_of(experiment)
    n, hits, right = counts.sum(), counts[COVID, COVID], np.trace(counts)
    ill, called = counts[COVID].sum(), counts[:, COVID].sum()
    part, whole = {
        "accuracy": (right, n),
        "recall": (hits, ill),
        "precision": (hits, called),
        "specificity": (n - ill - called + hits, n - ill),
        "false alarms": (called - hits, n - ill),
        "called": (called, n),
        "ill": (ill, n),
    }[measure]
    return Share(int(part), int(whole))


# Claims that the authors' counts and lists decide.


def images_in_text() -> Judged:
    """Count the images that the authors' split deals out, beside the number in the text."""
    used = sum(sum(data.report_counts(n).values()) for n in report.LISTED.values())
    number = f"{used:,} of the {sum(report.LISTED.values()):,} listed images are dealt out"
    return as_one(used == report.IMAGES_IN_TEXT, number)


def table_1_row(name: str) -> Judged:
    """Apply the authors' rule to a class, beside its row of Table 1."""
    counts = data.report_counts(report.LISTED[name])
    counts["total"] = sum(counts.values())
    printed = report.TABLE_1[name]
    return as_share(
        [printed[part] == n for part, n in counts.items()],
        ", ".join(f"{part} {n:,}" for part, n in counts.items()),
    )


def table_1_sums() -> Judged:
    """Add up what the rule gives, beside Table 1's last column."""
    counts = [data.report_counts(n) for n in report.LISTED.values()]
    sums = {part: sum(row[part] for row in counts) for part in data.SPLITS}
    sums["total"] = sum(sums.values())
    printed = {part: sum(row[part] for row in report.TABLE_1.values()) for part in sums}
    number = ", ".join(f"{part} {n:,}" for part, n in sums.items())
    return as_share([printed[part] == n for part, n in sums.items()], number)


def table_1_shares(*names: str) -> Judged:
    """Compute shares of Table 1's images, in per cent, beside the printed ones."""
    total = sum(row["total"] for row in report.TABLE_1.values())
    shares = {}
    for name in names:
        if name in data.SPLITS:
            n = sum(row[name] for row in report.TABLE_1.values())
        else:
            n = report.TABLE_1[name]["total"]
        shares[name] = 100 * n / total
    holding = []
    for name, share in shares.items():
        printed = report.TABLE_1_PERCENT[name]
        decimals = 0 if name in data.SPLITS else 1
        holding += [abs(share - printed) < 10**-decimals, round(share, decimals) == printed]
    return as_share(holding, ", ".join(f"{k} {share:.2f} %" for k, share in shares.items()))


def few_covid() -> Judged:
    """Is COVID-19 a small part of the images?"""
    n, total = report.LISTED["COVID-19"], sum(report.LISTED.values())
    return as_one(n / total < 0.05, f"{n} of {total:,} listed images, {n / total:.2%}")


def table_4(experiment: str) -> Judged:
    """Count the 13 numbers of an experiment in Table 4."""
    rows = metrics.class_rows(counts_of(experiment), CLASS_NAMES)
    counted = [row[column] for row in rows[:3] for column in report.TABLE_4_COLUMNS]
    printed = [value for values in report.TABLE_4[experiment].values() for value in values]
    counted.append(metrics.accuracy(counts_of(experiment)))
    printed.append(report.ACCURACY[experiment])
    equal = [round(c, 2) == p for c, p in zip(counted, printed, strict=True)]
    differ = [f"{c:.3f} for {p}" for c, p, e in zip(counted, printed, equal, strict=True) if not e]
    said = f"; counted {', '.join(differ)}" if differ else ""
    return as_share(equal, f"{sum(equal)} of {len(equal)} numbers as counted{said}")


def figure_5() -> Judged:
    """Compare the rows of Figure 5 with Table 1's test images."""
    test = [row["test"] for row in report.TABLE_1.values()]
    sums = [counts.sum(axis=1).tolist() for counts in map(counts_of, report.CONFUSION)]
    number = (
        f"rows add up to {test[0]}, {test[1]} and {test[2]} in {sums.count(test)} of {len(sums)}"
    )
    return as_share([one == test for one in sums], number)


def accuracies() -> Judged:
    """Count the three accuracies."""
    counted = {name: metrics.accuracy(counts_of(name)) for name in report.CONFUSION}
    holding = [round(value, 2) == report.ACCURACY[name] for name, value in counted.items()]
    return as_share(holding, ", ".join(report.percent(value) for value in counted.values()))


def best_experiment() -> Judged:
    """Is the accuracy of experiment 1 above the others', intervals apart?"""
    first, *others = (share_of(name, "accuracy").ends for name in report.CONFUSION)
    number = f"from {first[0]:.1%}; the others up to {max(high for _, high in others):.1%}"
    return as_one(all(first[0] > high for _, high in others), number)


def covid_cell(experiment: str, measure: str, printed: str) -> Judged:
    """Judge a printed recall, precision or specificity of COVID-19, in whole per cent."""
    share = share_of(experiment, measure)
    return as_one(share.percent == int(printed), f"{measure} {share}")


def missed_images(experiment: str, printed: str) -> Judged:
    """Count the COVID-19 images that an experiment misses."""
    found, ill = share_of(experiment, "recall")
    return as_one(ill - found == int(printed), f"{ill - found} of {ill} COVID-19 images missed")


def low_precision(*names: str) -> Judged:
    """Is the precision of COVID-19 below 10 %, with its interval?"""
    shares = [share_of(name, "precision") for name in names]
    return as_share([share.ends[1] < 0.1 for share in shares], "; ".join(map(str, shares)))


def called_covid(*names: str) -> Judged:
    """Is more than a quarter of the other images called COVID-19?"""
    shares = [share_of(name, "false alarms") for name in names]
    number = "of the others " + "; ".join(map(str, shares))
    return as_share([share.ends[0] > 0.25 for share in shares], number)


def isolated(experiment: str, printed: str) -> Judged:
    """Judge the share of all who would be sent into isolation: those called COVID-19."""
    share = share_of(experiment, "called")
    return as_one(share.percent == int(printed), str(share))


def normal_called_pneumonia() -> Judged:
    """Count normal images called pneumonia, and what becomes of its specificity."""
    first, second = counts_of("experiment 1"), counts_of("experiment 2")
    one, other = (metrics.specificity(counts)[1] for counts in (first, second))
    number = (
        f"{second[0, 1]} of {second[0].sum()} ({first[0, 1]} in experiment 1); "
        f"specificity of pneumonia {one:.3f} and {other:.3f}"
    )
    return as_share([second[0, 1] > 2 * first[0, 1], other < one], number)


def recall_at_a_cost() -> Judged:
    """Recall rises, accuracy and precision fall: in the report's counts, and in the factorial.

    From experiment 1 to 3 more than the augmentation changed. In the factorial it is the only
    difference, on segmented images as from the report's experiment 2 to 3.
    """
    first, third = (
        {measure: share_of(name, measure).ends for measure in ("recall", "precision", "accuracy")}
        for name in ("experiment 1", "experiment 3")
    )
    costs = [third[measure][1] < first[measure][0] for measure in ("precision", "accuracy")]
    clear = "beyond" if third["recall"][0] > first["recall"][1] else "within"
    hits = [share_of(name, "recall").part for name in report.CONFUSION]
    number = f"found {hits[0]}, {hits[1]} and {hits[2]} of 26, {clear} the intervals"
    ways = ["augmentation on segmented images", "augmentation alone"]
    recall, recalled = _effects("effects", ways, f"{CLASS_NAMES[COVID]} recall")
    accuracy, changed = _effects("effects", ways[:1])
    gain = clear == "beyond" or recall[0][0] > 0
    number += f"; recall in the factorial: {recalled}; accuracy: {changed}"
    return as_share([gain, *costs, accuracy[0][1] < 0], number)


def two_class_accuracy() -> Judged:
    """The appendix's formula, for COVID-19 against the rest, beside the accuracy of Table 4."""
    values = {}
    for name in report.CONFUSION:
        counts = counts_of(name)
        wrong = counts[COVID].sum() + counts[:, COVID].sum() - 2 * counts[COVID, COVID]
        values[name] = 1 - wrong / counts.sum()
    number = ", ".join(f"{value:.3f} for {report.ACCURACY[name]}" for name, value in values.items())
    return as_share([round(v, 2) == report.ACCURACY[k] for k, v in values.items()], number)


def formula(measure: str, printed_column: str) -> Judged:
    """Recompute a column of Table 4 by the appendix's formula."""
    column = report.TABLE_4_COLUMNS.index(printed_column)
    equal = []
    for name, classes in report.TABLE_4.items():
        rows = metrics.class_rows(counts_of(name), CLASS_NAMES)
        printed = [values[column] for values in classes.values()]
        equal += [abs(row[measure] - p) < 0.01 for row, p in zip(rows[:3], printed, strict=True)]
    return as_share(equal, f"gives {sum(equal)} of Table 4's {len(equal)} numbers to 0.01")


def wording_of_errors() -> Judged:
    """By the letter the appendix calls a missed case FP and a false alarm FN."""
    counts = counts_of("experiment 1")
    hits = counts[COVID, COVID]
    by_the_letter = hits / counts[COVID].sum()  # with FP taken for the missed
    printed = report.TABLE_4["experiment 1"]["COVID-19"][0]
    number = f"by the letter precision would be {by_the_letter:.2f}; Table 4 prints {printed}"
    usual = {
        "TP": ("positive", "positive"),
        "TN": ("negative", "negative"),
        "FP": ("negative", "positive"),
        "FN": ("positive", "negative"),
    }
    return as_share([report.WORDED_COUNTS[name] == cell for name, cell in usual.items()], number)


def f1_is_harmonic() -> Judged:
    """Compare F1 with the harmonic mean of precision and recall, written out."""
    differences = []
    for name in report.CONFUSION:
        counts = counts_of(name)
        p, r = metrics.precision(counts), metrics.recall(counts)
        differences.append(np.abs(2 / (1 / p + 1 / r) - metrics.f_beta(counts, 1)).max())
    return as_one(max(differences) < 1e-12, f"differs by {max(differences):.0e} at most, 9 of 9")


def f2_weighs_recall_twice() -> Judged:
    """Where recall is twice the precision, a small gain of either is worth the same."""
    precision, recall, step = 0.3, 0.6, 1e-6
    value = _f2(precision, recall)
    gains = _f2(precision + step, recall) - value, _f2(precision, recall + step) - value
    ratio = gains[1] / gains[0]
    return as_one(
        abs(ratio - 1) < 1e-3, f"at recall = 2 x precision their gains are as 1 to {ratio:.3f}"
    )


def f2_rises_with_recall() -> Judged:
    """Section 4 aims at a low recall; is that what section 3.3 wants, and what F2 rewards?"""
    low, high = _f2(0.5, 0.2), _f2(0.5, 0.8)
    number = f"F2 at precision 0.5 is {low:.2f} with recall 0.2 and {high:.2f} with recall 0.8"
    return as_one(low > high, number)


def _f2(precision: float, recall: float) -> float:
    return 5 * precision * recall / (4 * precision + recall)


def test_set_is_upsampled() -> Judged:
    """Count COVID-19 in the test set, beside the rate of Table 3."""
    share = share_of("experiment 1", "ill")
    wanted = report.TABLE_3["up-sampling of COVID-19 (%)"]
    return as_one(share.percent == wanted, f"in the test set {share}")


def figure_6_level(epoch: str, *experiments_named: str) -> Judged:
    """Section 4 says 98.7 %; Figure 6 is read to about 0.002."""
    values = {name: report.FIGURE_6["accuracy"][int(epoch)][name] for name in experiments_named}
    number = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
    return as_share([abs(value - 0.987) <= 0.005 for value in values.values()], number)


def figure_6_slower() -> Judged:
    """Is experiment 3 at the end below the others after 40 epochs?"""
    last = report.FIGURE_6["accuracy"][49]
    early = report.FIGURE_6["accuracy"][40]
    third = last["experiment 3"]
    number = f"experiment 3 has {third:.3f} at the end; the others {early['experiment 1']:.3f} and "
    number += f"{early['experiment 2']:.3f} after 40 epochs"
    return as_one(third < min(early["experiment 1"], early["experiment 2"]), number)


def figure_6_falling() -> Judged:
    """Does only experiment 3 still fall? The last nine epochs that Figure 6 shows."""
    loss = report.FIGURE_6["loss"]
    falls = {name: loss[40][name] - loss[49][name] for name in loss[40]}
    third = falls.pop("experiment 3")
    number = f"experiment 3 falls by {third:.3f}, the others by "
    number += " and ".join(f"{fall:.3f}" for fall in falls.values())
    return as_share([third > 0.004, all(fall < third for fall in falls.values())], number)


def figure_7_images() -> Judged:
    """Look up the images of Figure 7 in the replayed split."""
    tested = [split == "test" for _, split, _ in report.FIGURE_7.values()]
    known = sum(others > 0 for _, _, others in report.FIGURE_7.values())
    number = f"{sum(tested)} test images; of {known} the patient is in training"
    return as_one(all(tested), number)


def figure_7_colours() -> Judged:
    """What colour has the highest value in the script that drew the figure?"""
    scale = np.array([[0, 255]], np.uint8)
    lowest, highest = cv2.applyColorMap(scale, cv2.COLORMAP_JET)[0]  # Matplotlib takes it as RGB
    names = {True: "red", False: "blue"}
    high, low = (names[bool(colour[0] > colour[2])] for colour in (highest, lowest))
    file, what = report.RELEASED_CODE["Figure 7, colours"]
    number = f"if {file} drew it: highest {high}, lowest {low}, for it {what}"
    return as_share([high == "red", low == "blue"], number)


# Claims on code, the report's or this book's.


def released(key: str) -> Judged:
    """Judge by the released code, where it seems to have made what the report shows."""
    file, what = report.RELEASED_CODE[key]
    if file in report.FIGURE_7_DRAWN_BY:
        return Judged(FAILS, f"if {file} made Figure 7: it {what}")
    return Judged(OPEN, f"{file} {what}")


def table_2() -> Judged:
    """Compare Table 2 with the transforms of the released loader."""
    released_ranges = report.RELEASED_TRANSFORMS
    equal = [released_ranges.get(name) == values for name, values in report.TABLE_2.items()]
    more = [name for name in released_ranges if name not in report.TABLE_2]
    number = f"{sum(equal)} of {len(equal)} as in data_module.py, which has also: {', '.join(more)}"
    return as_share([*equal, not more], number)


def vgg16_images() -> Judged:
    """Compare the number of training images with that of ILSVRC 2012."""
    said, used = report.IMAGES_IN_TEXT_OF_VGG16, report.IMAGENET_IMAGES
    return as_one(0.5 < used / said < 2, f"{used:,} images of ILSVRC 2012")


def _vgg16() -> keras.Model:
    return keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))


def vgg16_convolutions(printed: str) -> Judged:
    """Count the convolutions of VGG16."""
    found = [layer for layer in _vgg16().layers if isinstance(layer, keras.layers.Conv2D)]
    number = (
        f"{len(found)} convolutions; with three dense layers {len(found) + 3} that have weights"
    )
    return as_one(len(found) == int(printed), number)


def vgg16_is_uniform() -> Judged:
    """Does VGG16 have one size of kernel and one size of pool?"""
    layers = _vgg16().layers
    kernels = {layer.kernel_size for layer in layers if isinstance(layer, keras.layers.Conv2D)}
    pools = {layer.pool_size for layer in layers if isinstance(layer, keras.layers.MaxPooling2D)}
    number = f"kernels {sorted(kernels)}, pools {sorted(pools)}"
    return as_one(len(kernels) == len(pools) == 1, number)


def frozen_base() -> Judged:
    """Count the weights that are trained and those that are not."""
    base, head = _vgg16(), network.build_head(7)
    shared = {layer.name for layer in base.layers} & {layer.name for layer in head.layers}
    trained = sum(int(np.prod(weight.shape)) for weight in head.trainable_weights)
    number = f"{trained:,} weights are trained, none of VGG16's {base.count_params():,}"
    return as_one(not shared, number)


def figure_2() -> Judged:
    """Look for the shapes of Figure 2 in the network of this book."""
    shapes = [tuple(layer.output.shape[1:]) for layer in network.build_head(7).layers]
    equal = [shape in shapes for shape in report.FIGURE_2]
    return as_share(equal, f"{sum(equal)} of {len(equal)} shapes of Figure 2 in the same network")


def cells_of_the_map(question: str) -> Judged:
    """What nine cells, of which the pool reads four, can show."""
    side = network.build_head(7).get_layer("block6_conv2").output.shape[1]
    cells, live = side * side, (side // 2 * 2) ** 2
    number = f"{cells} cells of {1 / cells:.0%} of the image each, {live} of them read by the pool"
    if question == "large areas":
        return as_one(1 / cells > 0.1, number)
    if question == "local map possible":
        return as_one(1 / cells < 0.02, number)
    return as_one(False, f"{number}, in all three networks, the accurate one too")


def equation_1() -> Judged:
    """Write equation (1) out and compare it with `maps.grad_cam`."""
    acts, grads = _random_maps()
    weights = grads.mean(axis=(1, 2), keepdims=True)
    by_hand = np.maximum((weights * acts).sum(axis=-1), 0)
    return _equals_package(by_hand, acts, grads)


def equation_2() -> Judged:
    """Write equation (2) out as a sum over Z cells and compare likewise."""
    acts, grads = _random_maps()
    z = grads.shape[1] * grads.shape[2]
    by_hand = np.einsum("bijk,bk->bij", acts, grads.sum(axis=(1, 2)) / z)
    return _equals_package(np.maximum(by_hand, 0), acts, grads)


def _random_maps() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((2, 3, 3, 8)), rng.normal(size=(2, 3, 3, 8))


def _equals_package(by_hand: np.ndarray, acts, grads) -> Judged:
    apart = float(np.abs(by_hand - np.asarray(maps.grad_cam(acts, grads))).max())
    return as_one(apart < 1e-5, f"written out, it gives the map of this book to {apart:.0e}")


def unet_of_its_makers() -> Judged:
    """Compare the range of IoU and Dice with what the U-Net's makers print."""
    low, high = report.UNET_PRINTED
    values = [value for row in report.UNET_OF_ITS_MAKERS.values() for value in row.values()]
    number = f"{min(values)} to {max(values)}, as its makers print for JSRT and Montgomery"
    return as_share([low <= value <= high for value in values], number)


def unet_as_described() -> Judged:
    """Compare the description of the U-Net with its makers' code."""
    described, code = report.UNET_DESCRIBED, report.UNET_IN_CODE
    equal = {name: code[name] == value for name, value in described.items()}
    differ = ", ".join(f"{name} {code[name]}" for name, same in equal.items() if not same)
    return as_share(equal.values(), f"{sum(equal.values())} of {len(equal)}; its code has {differ}")


def table_3() -> Judged:
    """Compare Table 3 with the released program and with the settings of this book."""
    ours, theirs = RunConfig(), report.RELEASED_TRAINING
    used = {
        "learning rate": ours.learning_rate,
        "decay": ours.decay,
        "epochs": ours.epochs,
        "batch size": ours.batch_size,
    }
    equal = [report.TABLE_3[name] == theirs[name] == value for name, value in used.items()]
    number = f"{sum(equal)} of {len(equal)} in Draft_Model.py and in this book's profile"
    return as_share(equal, number)


def augmented_experiments() -> Judged:
    """In how many experiments are the training images changed?"""
    plain = images.Preprocessing()
    changed = [one.train != plain for one in experiments.EXPERIMENTS.values()]
    return as_share(changed, f"{sum(changed)} of {len(changed)} experiments")


def steps_of_advanced() -> Judged:
    """Which steps of the advanced augmentation do the three experiments use?"""
    views = [one.train for one in experiments.EXPERIMENTS.values()]
    used = [any(view.region == "lungs" for view in views), any(v.equalise != "none" for v in views)]
    names = ("segmentation", "equalisation")
    said = [f"{name} {'used' if on else 'not used'}" for name, on in zip(names, used, strict=True)]
    return as_share(used, f"section 3.4: {', '.join(said)}")


def upsampled_share(rate: str) -> Judged:
    """Deal an epoch of Table 1's training images at a rate."""
    counts = [data.report_counts(n)["train"] for n in report.LISTED.values()]
    labels, size = np.repeat(range(3), counts), report.TABLE_3["batch size"]
    dealt = list(data.upsampled_batches(labels, size, float(rate), np.random.default_rng(0)))
    found = [int((labels[rows] == COVID).sum()) for rows in dealt]
    times = sum(found) / counts[COVID]
    number = f"{found[0]} of {size} in each full batch, each image {times:.1f} times an epoch"
    return as_one(found[0] == round(float(rate) * size), number)


# Claims that drawn radiographs decide on the spot.


def information_loss() -> Judged:
    """Grey levels before and after equalisation: what falls together cannot be told apart."""
    levels = []
    for seed in range(8):
        image = phantoms.make_phantom(seed % 3, seed, "ABC"[seed % 3]).image
        levels.append([len(np.unique(one)) for one in (image, images.equalise(image))])
    before, after = np.mean(levels, axis=0)
    number = f"{before:.0f} grey levels become {after:.0f} (mean of {len(levels)} phantoms)"
    return as_one(after >= before, number)


def brightness_by_source() -> Judged:
    """Share of the variance of the mean brightness that lies between sources."""
    rows = []
    for seed in range(45):
        source = "ABC"[seed % 3]
        image = phantoms.make_phantom(seed // 3 % 3, seed, source, size=128).image
        rows.append((source, image.mean(), images.equalise(image).mean()))
    table = pd.DataFrame(rows, columns=["source", "before", "after"])
    shares = {}
    for column in ("before", "after"):
        means = table.groupby("source")[column].transform("mean")
        shares[column] = float(means.var() / table[column].var())
    number = f"share of the variance between sources {shares['before']:.2f} before, "
    number += f"{shares['after']:.2f} after (n = {len(table)} phantoms)"
    return as_share([shares["after"] < shares["before"], shares["after"] < 0.1], number)


def devices_removed() -> Judged:
    """Contrast of a burnt-in marker to its surroundings, in spreads of the image."""
    ratios = []
    for seed in range(24):
        drawn = phantoms.make_phantom(seed % 3, seed, "ABC"[seed % 3])
        contrasts = [
            images.contrast(one, drawn.marker_mask, width=7) / one.std()
            for one in (drawn.image, images.equalise(drawn.image))
        ]
        ratios.append(contrasts[1] / contrasts[0])
    mean = metrics.bootstrap_mean(np.array(ratios))
    number = f"a marker keeps {mean.value:.0%} [{mean.low:.0%}, {mean.high:.0%}] of its contrast"
    return as_one(mean.high < 0.5, f"{number} (n = {len(ratios)} phantoms)")


# Claims that tables of runs decide.


def above(name: str, column: str, first: str, second: str, read_as: str = "") -> Judged:
    """Is one row above another one, their intervals apart? `read_as` is how we read the claim."""
    table, run = kept_table(name)
    rows = [row_where(table, where) for where in (first, second)]
    one, other = (row.interval(column) for row in rows)
    number = f"{column} {in_words(one)} against {in_words(other)}{rows[0].n}{run}"
    number = f"read as: {read_as}; {number}" if read_as else number
    return as_clear(one[1] > other[2], one[2] < other[1], number)


def not_above(name: str, column: str, first: str, second: str, read_as: str = "") -> Judged:
    """As `above`, of a claim that says the opposite."""
    judged = above(name, column, first, second, read_as)
    turned = {HOLDS: FAILS, FAILS: HOLDS}
    return judged._replace(verdict=turned.get(judged.verdict, judged.verdict))


def lowers(name: str, *factors: str) -> Judged:
    """Do factors lower the accuracy, each interval below 0?"""
    ends, number = _effects(name, factors)
    if any(low <= 0 <= high for low, high in ends):
        return Judged(OPEN, number)
    return as_share([high < 0 for _, high in ends], number)


def does_not_raise(name: str, *factors: str) -> Judged:
    """Is each factor's effect on the accuracy below a gain that counts, with its interval?"""
    ends, number = _effects(name, factors)
    if any(low <= 0 and high >= NO_GAIN for low, high in ends):
        return Judged(OPEN, number)
    return as_share([high < NO_GAIN for _, high in ends], number)


def has_effect(name: str, *factors: str) -> Judged:
    """How many factors have an effect on the accuracy that is clearly above or below 0?"""
    ends, number = _effects(name, factors)
    clear = [low > 0 or high < 0 for low, high in ends]
    return as_share(clear, number) if any(clear) else Judged(OPEN, number)


def _effects(
    name: str, factors, measure: str = "accuracy"
) -> tuple[list[tuple[float, float]], str]:
    """Return the ends of each factor's effect on a measure, in points, and all in words.

    A factor is its name, and further conditions as of `row_where`.
    """
    table, run = kept_table(name)
    ends, texts = [], []
    for factor in factors:
        row = row_where(table, f"measure={measure}, factor={factor}")
        points = [100 * end for end in row.interval("effect")]
        ends.append(points[1:])
        said = factor.replace("tested_on=original", "tested on original images")
        texts.append(f"{said} {in_words(points, '+.1f')} points{row.n}{run}")
    return ends, "; ".join(texts)


def _regained() -> tuple[float, str]:
    """Return how much of experiment 2's loss comes back when training and test are of one kind."""
    table, run = kept_table("grid")

    def accuracy(train: str, test: str) -> float:
        return row_where(table, f"train_view={train}, test_view={test}")["accuracy"]

    mixed = accuracy("segmented", "original")
    lost = accuracy("original", "original") - mixed
    share = (accuracy("segmented", "segmented") - mixed) / lost
    return share, f"{share:.0%} of the lost accuracy comes back when both are segmented{run}"


def cause_uncertain() -> Judged:
    """Could the three experiments tell? Only if one were tested on images like its training's."""
    changed = [one for one in experiments.EXPERIMENTS.values() if one.train != one.judge]
    tested = {one.judge for one in experiments.EXPERIMENTS.values()}
    number = f"the {len(changed)} experiments on changed images are tested on original ones; in "
    return as_one(len(tested) == 1, f"{number}this book's repetition {_regained()[1]}")


def implementation_at_fault() -> Judged:
    """Is the mismatch of training and test images what cost most?"""
    share, number = _regained()
    return Judged(HOLDS if share > 0.5 else OPEN, number)


def masks_exist() -> Judged:
    """Are there masks by now with which a U-Net can be measured?"""
    drawn = len(pd.read_csv(data.V7LABS_MASKS))
    row = Row(kept_table("unet")[0].iloc[-1])
    number = f"since then {drawn} COVID-19 images got masks; Dice of this book's U-Net "
    number += in_words(row.interval("dice")) + row.n
    return as_share([drawn == 0, drawn < 1000], number)


def lungs_attended() -> Judged:
    """Does the map of COVID-19 in experiment 1 lie in the lungs beyond chance, and beyond edges?"""
    table, run = kept_table("lung_energy")
    where = (
        "experiment=experiment 1, layer=block6_conv2, check=energy inside, class=COVID-19, maps="
    )
    rows = [row_where(table, where + maps) for maps in ("network", "random map", "edge detector")]
    own, chance, edges = (row.interval("value") for row in rows)
    number = f"{own[0]:.2f} inside the lungs; a random map {chance[0]:.2f}, edges {edges[0]:.2f}"
    return as_share(
        [own[1] > chance[2], own[1] > edges[2]], f"{number}; n = {rows[0]['n']}, {run[2:]}"
    )


def best_layer() -> Judged:
    """Where do maps lie on the lesions most: at block6_conv2, or earlier?"""
    table, run = kept_table("known_networks")
    chosen = table[(table.check == "energy inside") & (table.network == "unconfounded")]
    chosen = chosen[chosen.maps == "network"]
    best = Row(chosen.loc[chosen.value.idxmax()])
    last = row_where(chosen, "layer=block6_conv2")
    number = f"energy on the lesion {in_words(last.interval('value'))}; {best['value']:.3f} at "
    number += f"{best['layer']} (n = {int(last['n'])} phantoms, {run[2:]})"
    return as_clear(best["layer"] == last["layer"], best["low"] > last["high"], number)


def rising_curve() -> Judged:
    """Does the accuracy rise with the number of training images?"""
    table, run = kept_table("learning_curve")
    first, last = (
        f"{row.accuracy:.3f} with {row.images:.0f} images"
        for row in (table.iloc[0], table.iloc[-1])
    )
    number = f"read as: more data, more accuracy; {first}, {last.removesuffix(' images')}"
    number += f"{Row(table.iloc[-1]).n}{run}"
    return as_share(np.diff(table.accuracy) > 0, number)


def accurate_at_home_and_abroad() -> Judged:
    """Is the report's head accurate on its own data, and elsewhere?"""
    folds, steps = (kept_table(name)[0] for name in ("folds", "hospitals_steps"))
    home = row_where(folds, "recipe=the report's head, folds=patient").interval("accuracy")
    abroad = Row(steps.iloc[0]).interval("macro recall")
    number = f"{in_words(home)} in folds by patient; at other hospitals a macro recall of "
    return as_share([home[1] > 0.5, abroad[1] > 0.5], f"{number}{in_words(abroad)}, chance 0.333")


def bias_battled() -> Judged:
    """Cropped to the lungs and equalised: is the hospital still told, and the class elsewhere?"""
    whole, cropped = (Row(kept_table("hospitals_steps")[0].iloc[k]) for k in (0, 1))
    still, chance = cropped.interval("hospital recall"), cropped["chance"]
    before, after = (row.interval("macro recall") for row in (whole, cropped))
    number = f"the hospital is told from cropped, equalised lungs at {still[0]:.3f} (chance "
    number += f"{chance}); macro recall elsewhere {after[0]:.2f}, from whole images "
    number += f"{before[0]:.2f} (chance 0.33)"
    if before[1] <= after[2] and after[1] <= before[2]:
        return Judged(OPEN, number)
    return as_share([still[1] <= chance, after[1] > before[2]], number)


def best_without_changes() -> Judged:
    """Is the cell without any change the best of the factorial, and its interval above the next?"""
    table, run = kept_table("factorial")
    best, second = (Row(row) for _, row in table.nlargest(2, "accuracy").iterrows())
    ends = [in_words(row.interval("accuracy")) for row in (best, second)]
    number = f"best of {len(table)}: {best['cell']}, {ends[0]}; next {second['cell']}, {ends[1]}"
    is_best = best["cell"] == "none"
    is_apart = best["accuracy low"] > second["accuracy high"]
    return as_share([is_best, is_best and is_apart], number + best.n + run)


def hospital_told() -> Judged:
    """Can the hospital be told from an image better than by chance?"""
    table, run = kept_table("hospitals_steps")
    row = Row(table.iloc[0])
    told, chance = row.interval("hospital recall"), row["chance"]
    return as_one(told[1] > chance, f"told right at {in_words(told)}, chance {chance}{row.n}{run}")


def marker_moves_network() -> Judged:
    """Does painting a marker over lower the probability of a network taught with it?"""
    table, run = kept_table("counterfactuals")
    row = row_where(table, "network=confounded, change=marker painted over")
    effect = row.interval("effect")
    number = f"painted over, the probability changes by {in_words(effect, '+.3f')}{row.n} phantoms"
    return Judged(HOLDS if effect[2] < 0 else OPEN, number + run)


def unet_elsewhere() -> Judged:
    """Is the Dice of a U-Net above 0.8 on each source that it was not trained on?"""
    table, run = kept_table("unet_hospitals")
    rows = [Row(row) for _, row in table.iterrows()]
    sources = [row["judged_on"].removesuffix(", healthy") for row in rows]
    # without the folds, in which the patients alone are new
    unseen = [k for k, row in enumerate(rows) if sources[k] not in row["trained_on"]]
    worst = min((rows[k] for k in unseen), key=lambda row: row["dice"])
    dice, n_sources = worst.interval("dice"), len({sources[k] for k in unseen})
    number = f"read as: a Dice above 0.8; worst on {n_sources} unseen sources {in_words(dice)}"
    number += f"{worst.n}{run}, of this book's U-Net"
    return as_clear(dice[1] > 0.8, dice[2] < 0.8, number)


def suspects_untold() -> Judged:
    """Is neither suspect shown to lower the accuracy, or are both: so that none is singled out?

    The report tested on original images. The factorial tests on images alike.
    """
    contrasts = experiments.suspect_contrasts(tuple(experiments.OUTSIDE))
    factors = [f"{name}, tested_on=original" for name in contrasts]
    equalisation = [name for name in factors if name.startswith("equalisation")]
    original, said_original = _effects("suspects", equalisation)
    padding, said = _effects("suspects", [name for name in factors if "in place of" in name])
    alike, said_alike = _effects("effects", ["equalisation"])
    does_harm = [any(high < 0 for _, high in ends) for ends in (padding, original + alike)]
    number = f"{said}; {said_original}; in the factorial, tested on images alike, {said_alike}"
    return as_one(does_harm[0] == does_harm[1], number)


def maps_miss_lesions() -> Judged:
    """Does Grad-CAM lie on what radiologists outlined no more than the strongest floor does?"""
    table, run = kept_table("maps_against_marks")
    where = "maps=grad_cam, layer=block6_conv2, check=energy inside, marks=COVID-19 lesions"
    row = row_where(table, where)
    gain = row.interval("gain")
    number = f"energy on the lesions minus that of the floor ({row['floor']}): "
    return as_clear(gain[2] < 0, gain[1] > 0, f"{number}{in_words(gain, '+.3f')}{row.n}{run}")


DECIDERS: dict[str, Callable] = {  # what the list may name: each function above that judges
    name: function
    for name, function in list(globals().items())
    if getattr(function, "__annotations__", {}).get("return") is Judged
    if not name.startswith(("_", "as_", "judge_"))
}

# The page.

COLOURS = {HOLDS: "#009E73", IN_PART: "#E69F00", FAILS: "#D55E00", OPEN: "#8C8C8C"}
CARD = "border-left: 4px solid {}; padding: 0.1em 0.8em; margin: 0.8em 0"
FILTER = """
(() => {
  const box = document.currentScript.closest(".claims");
  const choices = [...box.querySelectorAll("select")];
  const claims = [...box.querySelectorAll("li")], count = box.querySelector("output");
  const show = () => {
    for (const claim of claims)
      claim.hidden = choices.some(c => c.value && claim.dataset[c.name] !== c.value);
    for (const part of box.querySelectorAll("details")) {
      part.hidden = !part.querySelector("li:not([hidden])");
      part.open = choices.some(c => c.value);
    }
    count.textContent = `${claims.filter(c => !c.hidden).length} of ${claims.length} claims`;
  };
  for (const choice of choices) choice.addEventListener("change", show);
  box.querySelector("p").hidden = false;
  show();
})();
"""


def claims_page(judged: pd.DataFrame) -> report.Shown:
    """Return what shows the claims with their verdicts, each with a link to its cell.

    Args:
        judged: as `judge_claims` gives.

    Returns:
        an object that a notebook shows: a list that is read without a script, a section unfolding
        at a time; with one, claims can be chosen by section and by verdict.
    """
    choices = "".join(
        f'<label>{name} <select name="{name}"><option value="">all</option>'
        + "".join(f"<option>{html.escape(value)}</option>" for value in values)
        + "</select></label> "
        for name, values in (
            ("section", judged.section.unique()),
            ("verdict", [v for v in VERDICTS if (judged.verdict == v).any()]),
        )
    )
    parts = "\n".join(_part(*pair) for pair in judged.groupby("section", sort=False))
    page = (
        f'<div class="claims"><p hidden>{choices}<output></output></p>\n{parts}\n'
        f"<script>{FILTER}</script></div>"
    )
    return report.Shown(page, judged.to_string(index=False))


def _part(section: str, judged: pd.DataFrame) -> str:
    """Fold the claims of a section behind how many there are of each verdict."""
    where = section if section[0].isalpha() else f"Section {section}"
    counts = judged.verdict.value_counts()
    counted = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    cards = "\n".join(_card(where, claim) for claim in judged.itertuples())
    return (
        f"<details><summary>{where}: {counted}</summary>\n"
        f'<ul style="list-style: none; padding: 0">\n{cards}\n</ul></details>'
    )


def _card(where: str, claim) -> str:
    says, printed, number = map(html.escape, (claim.says, claim.printed, claim.number))
    digits = f" <small>(printed: {printed})</small>" if printed else ""
    link = f'<a href="{claim.page}.ipynb#cell-{claim.cell}">{claim.page}, {claim.cell}</a>'
    return (
        f'<li data-section="{claim.section}" data-verdict="{claim.verdict}" '
        f'id="claim-{claim.id}" style="{CARD.format(COLOURS[claim.verdict])}">'
        f"<small>{where}, {claim.kind}</small><br>{says}{digits}<br>"
        f"<strong>{claim.verdict}</strong>: {number}. <small>{link}</small></li>"
    )
