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
RUNS = ("real", "quick", "smoke")  # whose tables decide: the first that has the table


DECIDERS: dict[str, Callable] = {}  # name in the list -> function
FROM_TABLES = {  # of these: those that read columns which a later run may lack
    "marker_moves_network",
    "unet_elsewhere",
    "maps_miss_lesions",
    "curves_agree",
    "hospital_told",
    "bias_battled",
    "accurate_at_home_and_abroad",
}


def decides(function: Callable) -> Callable:
    """Put a function among those that the list of claims may name."""
    DECIDERS[function.__name__] = function
    return function


class Judged(NamedTuple):
    """What became of a claim."""

    verdict: str  # one of `VERDICTS`
    number: str  # what decides it, in words and numbers


def judge_claims(claims: pd.DataFrame | None = None) -> pd.DataFrame:
    """Judge every claim of the report.

    Args:
        claims: as `report.load_claims` gives; that table without.

    Returns:
        the claims with two more columns: verdict, one of `VERDICTS`, and number, what decides it.
        A claim that nothing here can decide, or whose run is still missing, is `OPEN`.
    """
    claims = report.load_claims() if claims is None else claims
    judged = [judge_claim(*row) for row in claims[["decided_by", "of"]].itertuples(index=False)]
    return claims.assign(
        verdict=[one.verdict for one in judged], number=[one.number for one in judged]
    )


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
    except (KeyError, AttributeError) as error:
        if decided_by not in FROM_TABLES:
            raise
        return Judged(OPEN, f"the table of this run has another form: {error}")


class MissingRun(LookupError):
    """No run has measured what would decide a claim."""


def kept_table(name: str) -> tuple[pd.DataFrame, str]:
    """Return a table of results and the profile of its run; that on radiographs comes first."""
    for profile in RUNS:
        try:
            return report.load_table(profile, name), profile
        except FileNotFoundError:
            continue
    raise MissingRun(f"no run has measured the table {name} yet")


def row_where(table: pd.DataFrame, where: str) -> pd.Series:
    """Return the first row whose columns have the values of a text such as `view=original`."""
    for condition in where.split(","):
        column, _, value = (part.strip() for part in condition.partition("="))
        if column not in table:
            raise MissingRun(f"the table has no column {column}")
        table = table[table[column].astype(str) == value]
    if table.empty:
        raise MissingRun(f"the table has no row with {where}")
    return table.iloc[0]


def interval_of(row: pd.Series, column: str) -> tuple[float, float, float]:
    """Return a value and the ends of its interval, in any of the forms that tables have."""
    if f"{column} low" in row:
        ends = f"{column} low", f"{column} high"
    elif f"{column}_low" in row:
        ends = f"{column}_low", f"{column}_high"
    else:
        ends = "low", "high"
    missing = [name for name in (column, *ends) if name not in row]
    if missing:
        raise MissingRun(f"the table has no column {', '.join(missing)}")
    return tuple(float(row[name]) for name in (column, *ends))


def as_share(holding, number: str) -> Judged:
    """Judge a claim of several parts: all, some, or none of them hold."""
    holding = list(holding)
    return Judged(HOLDS if all(holding) else IN_PART if any(holding) else FAILS, number)


def as_one(holds: bool, number: str) -> Judged:
    """Judge a claim of one part."""
    return Judged(HOLDS if holds else FAILS, number)


def counts_of(experiment: str) -> np.ndarray:
    """Return the confusion matrix of an experiment of the report."""
    return np.array(report.CONFUSION[experiment])


def share_text(part: int, whole: int) -> str:
    """Write a share with its interval and its counts."""
    return (
        report.percent(part / whole, *metrics.wilson_interval(part, whole))
        + f", {part:,} of {whole:,}"
    )


# Claims that the authors' counts and lists decide.


@decides
def images_in_text() -> Judged:
    """Count the images that the authors' split deals out, beside the number in the text."""
    used = sum(sum(data.report_counts(n).values()) for n in report.LISTED.values())
    number = f"{used:,} of the {sum(report.LISTED.values()):,} listed images are dealt out"
    return as_one(used == report.IMAGES_IN_TEXT, number)


@decides
def table_1_row(name: str) -> Judged:
    """Apply the authors' rule to a class, beside its row of Table 1."""
    counts = data.report_counts(report.LISTED[name])
    counts["total"] = sum(counts.values())
    printed = report.TABLE_1[name]
    return as_share(
        [printed[part] == n for part, n in counts.items()],
        ", ".join(f"{part} {n:,}" for part, n in counts.items()),
    )


@decides
def table_1_sums() -> Judged:
    """Add up what the rule gives, beside Table 1's last column."""
    counts = [data.report_counts(n) for n in report.LISTED.values()]
    sums = {part: sum(row[part] for row in counts) for part in data.SPLITS}
    sums["total"] = sum(sums.values())
    printed = {part: sum(row[part] for row in report.TABLE_1.values()) for part in sums}
    number = ", ".join(f"{part} {n:,}" for part, n in sums.items())
    return as_share([printed[part] == n for part, n in sums.items()], number)


@decides
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


@decides
def few_covid() -> Judged:
    """Is COVID-19 a small part of the images?"""
    n, total = report.LISTED["COVID-19"], sum(report.LISTED.values())
    return as_one(n / total < 0.05, f"{n} of {total:,} listed images, {n / total:.2%}")


@decides
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


@decides
def figure_5() -> Judged:
    """Compare the rows of Figure 5 with Table 1's test images."""
    test = [row["test"] for row in report.TABLE_1.values()]
    sums = [counts.sum(axis=1).tolist() for counts in map(counts_of, report.CONFUSION)]
    number = (
        f"rows add up to {test[0]}, {test[1]} and {test[2]} in {sums.count(test)} of {len(sums)}"
    )
    return as_share([one == test for one in sums], number)


@decides
def accuracies() -> Judged:
    """Count the three accuracies."""
    counted = {name: metrics.accuracy(counts_of(name)) for name in report.CONFUSION}
    holding = [round(value, 2) == report.ACCURACY[name] for name, value in counted.items()]
    return as_share(holding, ", ".join(report.percent(value) for value in counted.values()))


@decides
def best_experiment() -> Judged:
    """Is the accuracy of experiment 1 above the others', intervals apart?"""
    ends = {}
    for name in report.CONFUSION:
        counts = counts_of(name)
        ends[name] = metrics.wilson_interval(int(np.trace(counts)), int(counts.sum()))
    first, *others = ends.values()
    number = f"from {first[0]:.1%}; the others up to {max(high for _, high in others):.1%}"
    return as_one(all(first[0] > high for _, high in others), number)


@decides
def covid_cell(experiment: str, measure: str, printed: str) -> Judged:
    """Judge a printed recall, precision or specificity of COVID-19, in whole per cent."""
    counts = counts_of(experiment)
    hits = int(counts[COVID, COVID])
    others = np.delete(counts, COVID, axis=0)
    part, whole = {
        "recall": (hits, int(counts[COVID].sum())),
        "precision": (hits, int(counts[:, COVID].sum())),
        "specificity": (int(np.delete(others, COVID, axis=1).sum()), int(others.sum())),
    }[measure]
    return as_one(round(100 * part / whole) == int(printed), f"{measure} {share_text(part, whole)}")


@decides
def missed_images(experiment: str, printed: str) -> Judged:
    """Count the COVID-19 images that an experiment misses."""
    counts = counts_of(experiment)
    missed = int(counts[COVID].sum() - counts[COVID, COVID])
    return as_one(
        missed == int(printed), f"{missed} of {counts[COVID].sum()} COVID-19 images missed"
    )


@decides
def low_precision(*names: str) -> Judged:
    """Is the precision of COVID-19 below 10 %, with its interval?"""
    texts, highs = [], []
    for name in names:
        column = counts_of(name)[:, COVID]
        highs.append(metrics.wilson_interval(int(column[COVID]), int(column.sum()))[1])
        texts.append(share_text(int(column[COVID]), int(column.sum())))
    return as_share([high < 0.1 for high in highs], "; ".join(texts))


@decides
def called_covid(*names: str) -> Judged:
    """Is more than a quarter of the other images called COVID-19?"""
    texts, lows = [], []
    for name in names:
        others = np.delete(counts_of(name), COVID, axis=0)
        part, whole = int(others[:, COVID].sum()), int(others.sum())
        lows.append(metrics.wilson_interval(part, whole)[0])
        texts.append(share_text(part, whole))
    return as_share([low > 0.25 for low in lows], "of the others " + "; ".join(texts))


@decides
def isolated(experiment: str, printed: str) -> Judged:
    """Judge the share of all who would be sent into isolation: those called COVID-19."""
    counts = counts_of(experiment)
    called, n = int(counts[:, COVID].sum()), int(counts.sum())
    return as_one(round(100 * called / n) == int(printed), share_text(called, n))


@decides
def normal_called_pneumonia() -> Judged:
    """Count normal images called pneumonia, and what becomes of its specificity."""
    first, second = counts_of("experiment 1"), counts_of("experiment 2")
    one, other = (metrics.specificity(counts)[1] for counts in (first, second))
    number = (
        f"{second[0, 1]} of {second[0].sum()} ({first[0, 1]} in experiment 1); "
        f"specificity of pneumonia {one:.3f} and {other:.3f}"
    )
    return as_share([second[0, 1] > 2 * first[0, 1], other < one], number)


@decides
def recall_at_a_cost() -> Judged:
    """Recall rises, accuracy and precision fall: which of it do the intervals carry?"""
    found = {}
    for name in ("experiment 1", "experiment 3"):
        counts = counts_of(name)
        parts = {
            "recall": (counts[COVID, COVID], counts[COVID].sum()),
            "precision": (counts[COVID, COVID], counts[:, COVID].sum()),
            "accuracy": (np.trace(counts), counts.sum()),
        }
        for measure, (part, whole) in parts.items():
            found[name, measure] = metrics.wilson_interval(int(part), int(whole))
    gain = found["experiment 3", "recall"][0] > found["experiment 1", "recall"][1]
    costs = [
        found["experiment 3", measure][1] < found["experiment 1", measure][0]
        for measure in ("precision", "accuracy")
    ]
    hits = [int(counts_of(name)[COVID, COVID]) for name in report.CONFUSION]
    clear = "beyond" if gain else "within"
    number = (
        f"found {hits[0]}, {hits[1]} and {hits[2]} of 26, {clear} the intervals; the cost is clear"
    )
    return as_share([gain, *costs], number if all(costs) else number.replace(" is ", " is not "))


@decides
def two_class_accuracy() -> Judged:
    """The appendix's formula, for COVID-19 against the rest, beside the accuracy of Table 4."""
    values = {}
    for name in report.CONFUSION:
        counts = counts_of(name)
        wrong = counts[COVID].sum() + counts[:, COVID].sum() - 2 * counts[COVID, COVID]
        values[name] = 1 - wrong / counts.sum()
    number = ", ".join(f"{value:.3f} for {report.ACCURACY[name]}" for name, value in values.items())
    return as_share([round(v, 2) == report.ACCURACY[k] for k, v in values.items()], number)


@decides
def formula(measure: str, printed_column: str) -> Judged:
    """Recompute a column of Table 4 by the appendix's formula."""
    column = report.TABLE_4_COLUMNS.index(printed_column)
    equal = []
    for name, classes in report.TABLE_4.items():
        rows = metrics.class_rows(counts_of(name), CLASS_NAMES)
        printed = [values[column] for values in classes.values()]
        equal += [abs(row[measure] - p) < 0.01 for row, p in zip(rows[:3], printed, strict=True)]
    return as_share(equal, f"gives {sum(equal)} of Table 4's {len(equal)} numbers to 0.01")


@decides
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


@decides
def f1_is_harmonic() -> Judged:
    """Compare F1 with the harmonic mean of precision and recall, written out."""
    differences = []
    for name in report.CONFUSION:
        counts = counts_of(name)
        p, r = metrics.precision(counts), metrics.recall(counts)
        differences.append(np.abs(2 / (1 / p + 1 / r) - metrics.f_beta(counts, 1)).max())
    return as_one(max(differences) < 1e-12, f"differs by {max(differences):.0e} at most, 9 of 9")


@decides
def f2_weighs_recall_twice() -> Judged:
    """Where recall is twice the precision, a small gain of either is worth the same."""
    precision, recall, step = 0.3, 0.6, 1e-6
    value = _f2(precision, recall)
    gains = _f2(precision + step, recall) - value, _f2(precision, recall + step) - value
    ratio = gains[1] / gains[0]
    return as_one(
        abs(ratio - 1) < 1e-3, f"at recall = 2 x precision their gains are as 1 to {ratio:.3f}"
    )


@decides
def f2_rises_with_recall() -> Judged:
    """Section 4 aims at a low recall; is that what section 3.3 wants, and what F2 rewards?"""
    low, high = _f2(0.5, 0.2), _f2(0.5, 0.8)
    number = f"F2 at precision 0.5 is {low:.2f} with recall 0.2 and {high:.2f} with recall 0.8"
    return as_one(low > high, number)


def _f2(precision: float, recall: float) -> float:
    return 5 * precision * recall / (4 * precision + recall)


@decides
def test_set_is_upsampled() -> Judged:
    """Count COVID-19 in the test set, beside the rate of Table 3."""
    counts = counts_of("experiment 1")
    n_covid, n = int(counts[COVID].sum()), int(counts.sum())
    wanted = report.TABLE_3["up-sampling of COVID-19 (%)"]
    return as_one(round(100 * n_covid / n) == wanted, f"in the test set {share_text(n_covid, n)}")


@decides
def figure_6_level(epoch: str, *experiments_named: str) -> Judged:
    """Section 4 says 98.7 %; Figure 6 is read to about 0.002."""
    values = {name: report.FIGURE_6["accuracy"][int(epoch)][name] for name in experiments_named}
    number = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
    return as_share([abs(value - 0.987) <= 0.005 for value in values.values()], number)


@decides
def figure_6_slower() -> Judged:
    """Is experiment 3 at the end below the others after 40 epochs?"""
    last = report.FIGURE_6["accuracy"][49]
    early = report.FIGURE_6["accuracy"][40]
    third = last["experiment 3"]
    number = f"experiment 3 has {third:.3f} at the end; the others {early['experiment 1']:.3f} and "
    number += f"{early['experiment 2']:.3f} after 40 epochs"
    return as_one(third < min(early["experiment 1"], early["experiment 2"]), number)


@decides
def figure_6_falling() -> Judged:
    """Does only experiment 3 still fall? The last nine epochs that Figure 6 shows."""
    loss = report.FIGURE_6["loss"]
    falls = {name: loss[40][name] - loss[49][name] for name in loss[40]}
    third = falls.pop("experiment 3")
    number = f"experiment 3 falls by {third:.3f}, the others by "
    number += " and ".join(f"{fall:.3f}" for fall in falls.values())
    return as_share([third > 0.004, all(fall < third for fall in falls.values())], number)


@decides
def figure_7_images() -> Judged:
    """Look up the images of Figure 7 in the replayed split."""
    tested = [split == "test" for _, split, _ in report.FIGURE_7.values()]
    known = sum(others > 0 for _, _, others in report.FIGURE_7.values())
    number = f"{sum(tested)} test images; of {known} the patient is in training"
    return as_one(all(tested), number)


@decides
def figure_7_colours() -> Judged:
    """What colour has the highest value in the script that drew the figure?"""
    scale = np.array([[0, 255]], np.uint8)
    lowest, highest = cv2.applyColorMap(scale, cv2.COLORMAP_JET)[0]  # Matplotlib takes it as RGB
    names = {True: "red", False: "blue"}
    high, low = (names[bool(colour[0] > colour[2])] for colour in (highest, lowest))
    file, what = report.RELEASED_CODE["Figure 7, colours"]
    return as_share([high == "red", low == "blue"], f"highest {high}, lowest {low}: {file} {what}")


# Claims on code, the report's or this book's.


@decides
def released(key: str) -> Judged:
    """Judge by the released code, where it is known to have made what the report shows."""
    file, what = report.RELEASED_CODE[key]
    return Judged(FAILS if file in report.FIGURE_7_DRAWN_BY else OPEN, f"{file} {what}")


@decides
def table_2() -> Judged:
    """Compare Table 2 with the transforms of the released loader."""
    released_ranges = report.RELEASED_TRANSFORMS
    equal = [released_ranges.get(name) == values for name, values in report.TABLE_2.items()]
    more = [name for name in released_ranges if name not in report.TABLE_2]
    number = f"{sum(equal)} of {len(equal)} as in data_module.py, which has also: {', '.join(more)}"
    return as_share([*equal, not more], number)


@decides
def vgg16_images() -> Judged:
    """Compare the number of training images with that of ILSVRC 2012."""
    said, used = report.IMAGES_IN_TEXT_OF_VGG16, report.IMAGENET_IMAGES
    return as_one(0.5 < used / said < 2, f"{used:,} images of ILSVRC 2012")


def _vgg16() -> keras.Model:
    return keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))


@decides
def vgg16_convolutions(printed: str) -> Judged:
    """Count the convolutions of VGG16."""
    found = [layer for layer in _vgg16().layers if isinstance(layer, keras.layers.Conv2D)]
    number = (
        f"{len(found)} convolutions; with three dense layers {len(found) + 3} that have weights"
    )
    return as_one(len(found) == int(printed), number)


@decides
def vgg16_is_uniform() -> Judged:
    """Does VGG16 have one size of kernel and one size of pool?"""
    layers = _vgg16().layers
    kernels = {layer.kernel_size for layer in layers if isinstance(layer, keras.layers.Conv2D)}
    pools = {layer.pool_size for layer in layers if isinstance(layer, keras.layers.MaxPooling2D)}
    number = f"kernels {sorted(kernels)}, pools {sorted(pools)}"
    return as_one(len(kernels) == len(pools) == 1, number)


@decides
def frozen_base() -> Judged:
    """Count the weights that are trained and those that are not."""
    base, head = _vgg16(), network.build_head(7)
    shared = {layer.name for layer in base.layers} & {layer.name for layer in head.layers}
    trained = sum(int(np.prod(weight.shape)) for weight in head.trainable_weights)
    number = f"{trained:,} weights are trained, none of VGG16's {base.count_params():,}"
    return as_one(not shared, number)


@decides
def figure_2() -> Judged:
    """Look for the shapes of Figure 2 in the network of this book."""
    shapes = [tuple(layer.output.shape[1:]) for layer in network.build_head(7).layers]
    equal = [shape in shapes for shape in report.FIGURE_2]
    return as_share(equal, f"{sum(equal)} of {len(equal)} shapes of Figure 2 in the same network")


@decides
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


@decides
def equation_1() -> Judged:
    """Write equation (1) out and compare it with `maps.grad_cam`."""
    acts, grads = _random_maps()
    weights = grads.mean(axis=(1, 2), keepdims=True)
    by_hand = np.maximum((weights * acts).sum(axis=-1), 0)
    return _equals_package(by_hand, acts, grads)


@decides
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


@decides
def unet_of_its_makers() -> Judged:
    """Compare the range of IoU and Dice with what the U-Net's makers print."""
    low, high = report.UNET_PRINTED
    values = [value for row in report.UNET_OF_ITS_MAKERS.values() for value in row.values()]
    number = f"{min(values)} to {max(values)}, as its makers print for JSRT and Montgomery"
    return as_share([low <= value <= high for value in values], number)


@decides
def unet_as_described() -> Judged:
    """Compare the description of the U-Net with its makers' code."""
    described, code = report.UNET_DESCRIBED, report.UNET_IN_CODE
    equal = {name: code[name] == value for name, value in described.items()}
    differ = ", ".join(f"{name} {code[name]}" for name, same in equal.items() if not same)
    return as_share(equal.values(), f"{sum(equal.values())} of {len(equal)}; its code has {differ}")


@decides
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


@decides
def augmented_experiments() -> Judged:
    """In how many experiments are the training images changed?"""
    plain = images.Preprocessing()
    changed = [one.train != plain for one in experiments.EXPERIMENTS.values()]
    return as_share(changed, f"{sum(changed)} of {len(changed)} experiments")


@decides
def steps_of_advanced() -> Judged:
    """Which steps of the advanced augmentation do the three experiments use?"""
    views = [one.train for one in experiments.EXPERIMENTS.values()]
    used = [any(view.region == "lungs" for view in views), any(v.equalise != "none" for v in views)]
    names = ("segmentation", "equalisation")
    said = [f"{name} {'used' if on else 'not used'}" for name, on in zip(names, used, strict=True)]
    return as_share(used, f"section 3.4: {', '.join(said)}")


@decides
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


@decides
def information_loss() -> Judged:
    """Grey levels before and after equalisation: what falls together cannot be told apart."""
    levels = []
    for seed in range(8):
        image = phantoms.make_phantom(seed % 3, seed, "ABC"[seed % 3]).image
        levels.append([len(np.unique(one)) for one in (image, images.equalise(image))])
    before, after = np.mean(levels, axis=0)
    number = f"{before:.0f} grey levels become {after:.0f} (mean of {len(levels)} phantoms)"
    return as_one(after >= before, number)


@decides
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


@decides
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


@decides
def above(name: str, column: str, first: str, second: str) -> Judged:
    """Is one row above another one, their intervals apart?"""
    table, profile = kept_table(name)
    one, other = (interval_of(row_where(table, where), column) for where in (first, second))
    texts = " against ".join(f"{v:.3f} [{low:.3f}, {high:.3f}]" for v, low, high in (one, other))
    number = f"{column} {texts}{_n_of(row_where(table, first))}; run {profile}"
    if one[1] > other[2]:
        return Judged(HOLDS, number)
    return Judged(FAILS if one[2] < other[1] else OPEN, number)


@decides
def not_above(name: str, column: str, first: str, second: str) -> Judged:
    """As `above`, of a claim that says the opposite."""
    judged = above(name, column, first, second)
    turned = {HOLDS: FAILS, FAILS: HOLDS}
    return judged._replace(verdict=turned.get(judged.verdict, judged.verdict))


@decides
def lowers(name: str, *factors: str) -> Judged:
    """Do factors lower the accuracy, each interval below 0?"""
    ends, number = _effects(name, factors)
    if any(low <= 0 <= high for low, high in ends):
        return Judged(OPEN, number)
    return as_share([high < 0 for _, high in ends], number)


@decides
def does_not_raise(name: str, *factors: str) -> Judged:
    """Is no factor's effect on the accuracy clearly above 0?"""
    ends, number = _effects(name, factors)
    return as_share([low <= 0 for low, _ in ends], number)


@decides
def has_effect(name: str, *factors: str) -> Judged:
    """Is the effect of each factor on the accuracy clearly above or below 0?"""
    ends, number = _effects(name, factors)
    return as_share([low > 0 or high < 0 for low, high in ends], number)


def _effects(name: str, factors) -> tuple[list[tuple[float, float]], str]:
    """Return the ends of each factor's effect on the accuracy, in points, and all in words."""
    table, profile = kept_table(name)
    ends, texts = [], []
    for factor in factors:
        where = f"measure=accuracy, factor={factor}"
        if "tested_on" in table:
            where += ", tested_on=alike"
        row = row_where(table, where)
        value, low, high = (100 * end for end in interval_of(row, "effect"))
        ends.append((low, high))
        points = f"{value:+.1f} [{low:+.1f}, {high:+.1f}] points"
        texts.append(f"{factor} {points}{_n_of(row)}; run {profile}")
    return ends, "; ".join(texts)


def _n_of(row: pd.Series) -> str:
    return f", n = {int(row.n):,}" if "n" in row and not pd.isna(row.n) else ""


@decides
def drop_explained() -> Judged:
    """How much of experiment 2's loss comes back when training and test are of one kind?"""
    table, profile = kept_table("grid")
    accuracy = {
        (a, b): row_where(table, f"train_view={a}, test_view={b}").accuracy
        for a, b in (
            ("original", "original"),
            ("segmented", "original"),
            ("segmented", "segmented"),
        )
    }
    lost = accuracy["original", "original"] - accuracy["segmented", "original"]
    regained = accuracy["segmented", "segmented"] - accuracy["segmented", "original"]
    number = f"{regained / lost:.0%} of the lost accuracy comes back when both are segmented"
    return Judged(FAILS if regained > lost / 2 else OPEN, f"{number}; run {profile}")


@decides
def implementation_at_fault() -> Judged:
    """Is the mismatch of training and test images what cost most?"""
    judged = drop_explained()
    return judged._replace(verdict=HOLDS if judged.verdict == FAILS else OPEN)


@decides
def masks_exist() -> Judged:
    """Are there masks by now with which a U-Net can be measured?"""
    drawn = len(pd.read_csv(data.V7LABS_MASKS))
    row = kept_table("unet")[0].iloc[-1]
    number = (
        f"since then {drawn} COVID-19 images got masks; Dice of this book's U-Net {row.dice:.3f}"
    )
    number += f" [{row.dice_low:.3f}, {row.dice_high:.3f}], n = {int(row.n)}"
    return as_share([drawn == 0, drawn < 1000], number)


@decides
def lungs_attended() -> Judged:
    """Does the map of COVID-19 in experiment 1 lie in the lungs beyond chance, and beyond edges?"""
    table, profile = kept_table("lung_energy")
    where = (
        "experiment=experiment 1, layer=block6_conv2, check=energy inside, class=COVID-19, maps="
    )
    network_, chance, edges = (
        interval_of(row_where(table, where + name), "value")
        for name in ("network", "random map", "edge detector")
    )
    number = (
        f"{network_[0]:.2f} inside the lungs; a random map {chance[0]:.2f}, edges {edges[0]:.2f}"
    )
    holding = [network_[1] > chance[2], network_[1] > edges[2]]
    return as_share(
        holding, f"{number}; n = {int(row_where(table, where + 'network').n)}, run {profile}"
    )


@decides
def best_layer() -> Judged:
    """Where do maps lie on the lesions most: at block6_conv2, or earlier?"""
    table, profile = kept_table("grad_cam_checks")
    chosen = table[(table.check == "energy inside") & (table.network == "unconfounded")]
    chosen = chosen[chosen.maps == "network"].set_index("layer")
    best, last = chosen.value.idxmax(), chosen.loc["block6_conv2"]
    number = f"energy on the lesion {last.value:.3f} [{last.low:.3f}, {last.high:.3f}]; "
    number += f"{chosen.value[best]:.3f} at {best} (n = {int(last.n)} phantoms, run {profile})"
    return as_one(chosen.low[best] <= last.high, number)


@decides
def rising_curve() -> Judged:
    """Does the accuracy rise with the number of training images?"""
    table, profile = kept_table("learning_curve")
    steps = np.diff(table.accuracy)
    first, last = table.iloc[0], table.iloc[-1]
    number = (
        f"accuracy {first.accuracy:.3f} with {first.images:.0f} images, {last.accuracy:.3f} with "
    )
    return as_share(steps > 0, f"{number}{last.images:.0f}, n = {int(last.n):,}; run {profile}")


@decides
def accurate_at_home_and_abroad() -> Judged:
    """Is the report's head accurate on its own data, and elsewhere?"""
    home = interval_of(
        row_where(kept_table("folds")[0], "recipe=the report's head, folds=patient"), "accuracy"
    )
    abroad = interval_of(kept_table("hospitals_steps")[0].iloc[0], "macro recall")
    number = (
        f"{home[0]:.3f} [{home[1]:.3f}, {home[2]:.3f}] in folds by patient; at other hospitals "
    )
    number += f"a macro recall of {abroad[0]:.3f} [{abroad[1]:.3f}, {abroad[2]:.3f}], chance 0.333"
    return as_share([home[1] > 0.5, abroad[1] > 0.5], number)


@decides
def bias_battled() -> Judged:
    """Cropped to the lungs and equalised: is the hospital still told, and the class elsewhere?"""
    table, _ = kept_table("hospitals_steps")
    whole, cropped = table.iloc[0], table.iloc[1]
    still = interval_of(cropped, "hospital recall")
    before, after = (interval_of(row, "macro recall") for row in (whole, cropped))
    number = f"the hospital is told from cropped, equalised lungs at {still[0]:.3f} (chance "
    number += f"{cropped.chance}); macro recall elsewhere {after[0]:.2f}, from whole images "
    number += f"{before[0]:.2f} (chance 0.33)"
    return as_share([still[1] <= cropped.chance, after[1] > before[2]], number)


@decides
def best_without_changes() -> Judged:
    """Is the cell without any change the best of the factorial?"""
    table, profile = kept_table("factorial")
    best = table.loc[table.accuracy.idxmax()]
    number = f"best of {len(table)}: {best.cell}, {best.accuracy:.3f} [{best['accuracy low']:.3f}, "
    return as_one(
        best.cell == "none",
        f"{number}{best['accuracy high']:.3f}], n = {int(best.n):,}; run {profile}",
    )


@decides
def hospital_told() -> Judged:
    """Can the hospital be told from an image better than by chance?"""
    table, profile = kept_table("hospitals_steps")
    row = table.iloc[0]
    value, low, high = interval_of(row, "hospital recall")
    number = f"told right at {value:.3f} [{low:.3f}, {high:.3f}], chance {row.chance}"
    return as_one(low > row.chance, f"{number}{_n_of(row)}; run {profile}")


@decides
def marker_moves_network() -> Judged:
    """Does painting a marker over lower the probability of a network taught with it?"""
    table, profile = kept_table("counterfactuals")
    row = row_where(table, "network=confounded, change=marker painted over")
    number = f"painted over, the probability changes by {row.effect:+.3f} "
    number += f"[{row.low:+.3f}, {row.high:+.3f}], n = {int(row.n)} phantoms; run {profile}"
    return Judged(HOLDS if row.high < 0 else OPEN, number)


@decides
def unet_elsewhere() -> Judged:
    """Does the Dice of a U-Net reach the printed range on sources that it was not trained on?"""
    table, profile = kept_table("unet_hospitals")
    row = table.iloc[table.dice.argmin()] if "dice" in table else None
    if row is None:
        raise MissingRun("the table unet_hospitals has no column dice")
    value, low, high = interval_of(row, "dice")
    number = f"worst of {len(table)} sources {value:.3f} [{low:.3f}, {high:.3f}]{_n_of(row)}"
    return as_share([high >= report.UNET_PRINTED[0], low > 0.8], f"{number}; run {profile}")


@decides
def suspects_untold() -> Judged:
    """Are the effects of the two suspects known by now, at least one of them clearly not 0?"""
    ends, number = _effects("suspects", ("white in place of black", "equalisation"))
    return as_one(all(low <= 0 <= high for low, high in ends), number)


@decides
def maps_miss_lesions() -> Judged:
    """Does Grad-CAM lie on what radiologists outlined no more than the strongest floor does?"""
    table, profile = kept_table("maps_against_marks")
    where = "maps=grad_cam, layer=block6_conv2, check=energy inside, marks=COVID-19 lesions"
    row = row_where(table, where)
    value, low, high = interval_of(row, "gain")
    number = f"energy on the lesions minus that of the floor ({row.floor}): {value:+.3f} "
    number += f"[{low:+.3f}, {high:+.3f}]{_n_of(row)}; run {profile}"
    return as_one(low <= 0, number)


@decides
def curves_agree() -> Judged:
    """Training curves of this book's three experiments, where they have been kept."""
    table, profile = kept_table("curves")
    last = table.groupby("experiment").tail(1).set_index("experiment")
    need = {"accuracy", "loss"}
    if not need <= set(last.columns):
        raise MissingRun("the table curves has other columns")
    number = ", ".join(f"{name} {row.accuracy:.3f}" for name, row in last.iterrows())
    slower = last.accuracy["experiment 3"] < last.accuracy[["experiment 1", "experiment 2"]].min()
    return as_one(bool(slower), f"{number} at the end; run {profile}")


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
    count.textContent = `${claims.filter(c => !c.hidden).length} of ${claims.length} claims`;
  };
  for (const choice of choices) choice.addEventListener("change", show);
  box.querySelector("p").hidden = false;
  show();
})();
"""


class ClaimsPage:
    """The judged claims as a cell shows them: a list, and two choices where scripts run."""

    def __init__(self, judged: pd.DataFrame):
        self.judged = judged

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"text/html": _page(self.judged), "text/plain": self.judged.to_string(index=False)}


def claims_page(judged: pd.DataFrame) -> ClaimsPage:
    """Return what shows the claims with their verdicts, each with a link to its cell.

    Args:
        judged: as `judge_claims` gives.

    Returns:
        an object that a notebook shows: a list that is read without a script; with one, claims
        can be chosen by section and by verdict.
    """
    return ClaimsPage(judged)


def _page(judged: pd.DataFrame) -> str:
    choices = "".join(
        f'<label>{name} <select name="{name}"><option value="">all</option>'
        + "".join(f"<option>{html.escape(value)}</option>" for value in values)
        + "</select></label> "
        for name, values in (
            ("section", judged.section.unique()),
            ("verdict", [v for v in VERDICTS if (judged.verdict == v).any()]),
        )
    )
    cards = "\n".join(_card(claim) for claim in judged.itertuples())
    return (
        f'<div class="claims"><p hidden>{choices}<output></output></p>\n'
        f'<ul style="list-style: none; padding: 0">\n{cards}\n</ul>'
        f"<script>{FILTER}</script></div>"
    )


def _card(claim) -> str:
    says, printed, number = (
        html.escape(text) for text in (claim.says, claim.printed, claim.number)
    )
    where = f"{claim.section}, {claim.kind}" if claim.section[0].isalpha() else ""
    where = where or f"Section {claim.section}, {claim.kind}"
    digits = f" <small>(printed: {printed})</small>" if printed else ""
    link = f'<a href="{claim.page}.ipynb#cell-{claim.cell}">{claim.page}, {claim.cell}</a>'
    return (
        f'<li data-section="{claim.section}" data-verdict="{claim.verdict}" '
        f'id="claim-{claim.id}" style="{CARD.format(COLOURS[claim.verdict])}">'
        f"<small>{where}</small><br>{says}{digits}<br>"
        f"<strong>{claim.verdict}</strong>: {number}. <small>{link}</small></li>"
    )
