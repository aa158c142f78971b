"""Settings chosen by looking at validation images: tuning, up-sampling, and where to cut."""

import hashlib
import tempfile
from functools import cache, partial

import keras
import numpy as np
import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from xraylib import data, experiments, metrics, network
from xraylib.config import CLASS_NAMES, COVID, RunConfig, home
from xraylib.images import Preprocessing
from xraylib.studies.stacks import (
    FAINT,
    Recipe,
    accuracy_row,
    cross_validate_recipe,
    probabilities,
    recipe_features,
)

WANTED_RECALL = 0.95
INNER_FOLDS = 3
RATES = (0.0, 0.1, 0.3, 0.5)
DRAWS = 300  # of patients, for the interval of the calibration error


def suggest(trial: optuna.Trial, config: RunConfig) -> RunConfig:
    """Return the settings of Table 3 as a trial proposes them; the profile's own are among them."""
    step = 5 if config.epochs % 5 == 0 else 1
    batch = config.batch_size
    return config.but(
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 3e-3, log=True),
        decay=trial.suggest_float("decay", 1e-5, 1e-2, log=True),
        batch_size=trial.suggest_categorical("batch_size", [batch // 2, batch, 2 * batch]),
        upsampling_rate=trial.suggest_float("upsampling_rate", 0.0, 0.5, step=0.1),
        epochs=trial.suggest_int("epochs", step, config.epochs, step=step),
    )


def run_study(
    manifest: pd.DataFrame, config: RunConfig, n_trials: int, name: str = "head"
) -> optuna.Study:
    """Search the settings of Table 3 for the report's head, going on where a process stopped.

    A trial trains on the training images of one split and is judged by the negative log
    likelihood on its validation images; the split's test images are never looked at. A trial
    that is worse than the median of the earlier ones at the same epoch is given up. The first
    trial is Table 3 itself.

    Args:
        config: `seed` and `split_by` of the split; the settings that are not searched.
        n_trials: that the study has in the end, given up ones included.
        name: the name of the study; its journal lies in `studies` in `XRAYLIB_HOME`.

    Returns:
        the study; see `best_trials` and `judge_best`. Akiba et al., "Optuna" (2019).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    part = data.split_manifest(manifest, config)
    journal = home("studies") / f"{name}-{_fingerprint(part, config)}.log"
    searched = optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
        load_if_exists=True,
    )
    # a trial at which a process was killed stays unfinished, and does not count
    done = sum(trial.state.is_finished() for trial in searched.trials)
    # a resumed study goes on with other draws than it began with
    searched.sampler = optuna.samplers.TPESampler(seed=(config.seed + done) % 2**32)
    if not searched.trials:
        searched.enqueue_trial(_searched(config))
    maps = network.extract_features(manifest, experiments.EXPERIMENTS[1].train, config.scaling)
    labels = data.label_ids(manifest)
    train, val = (np.flatnonzero(part.split == side) for side in ("train", "val"))

    def objective(trial: optuna.Trial) -> float:
        settings = suggest(trial, config)
        images = [network.LiveMaps(maps, train)]
        validation = network.LiveMaps(maps, val), labels[val]
        with tempfile.TemporaryDirectory() as folder:
            _, history = network.fit_head(
                images, labels[train], validation, settings, folder, told=partial(tell, trial)
            )
        last = history.iloc[-1]
        trial.set_user_attr("accuracy", float(last.val_accuracy))
        return float(last.val_loss)

    searched.optimize(objective, n_trials=max(0, n_trials - done))
    return searched


def tell(trial: optuna.Trial, row: dict) -> None:
    """Tell a trial how its training goes, and give it up where the study says so."""
    trial.report(row["val_loss"], row["epoch"] - 1)
    if trial.should_prune():
        raise optuna.TrialPruned(f"worse than the median after epoch {row['epoch']}")


def judge_best(searched: optuna.Study, manifest: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Judge the best trial against Table 3, on the test images that chose nothing.

    Args:
        searched: what `run_study` returns, for the same manifest and settings.
        config: as in `run_study`.

    Returns:
        two rows, settings `Table 3` and `tuned`: accuracy, low, high (95 % Wilson), n, p (McNemar's
        exact test against Table 3 on the same images; NaN in its own row), seed.
    """
    part = data.split_manifest(manifest, config)
    settings = {"Table 3": config, "tuned": config.but(**searched.best_params)}
    rows, right = [], {}
    for name, chosen in settings.items():
        run = experiments.run(experiments.EXPERIMENTS[1], part, chosen)
        judged = run.predictions.set_index("path")
        right[name] = judged.label == judged.prediction
        rows.append((name, *accuracy_row(run.predictions), np.nan, config.seed))
    columns = ["settings", "accuracy", "low", "high", "n", "p", "seed"]
    table = pd.DataFrame(rows, columns=columns)
    table.loc[1, "p"] = paired_p(right["Table 3"], right["tuned"])
    return table


def paired_p(one: pd.Series, other: pd.Series) -> float:
    """Return McNemar's p of two networks, from whether each calls the same images right."""
    other = other.loc[one.index]
    return metrics.mcnemar(int((one & ~other).sum()), int((other & ~one).sum()))


def best_trials(searched: optuna.Study) -> pd.DataFrame:
    """Return the trials of a study, the best first and given up ones last.

    Columns: trial, state (`complete` or `pruned`), loss (negative log likelihood on validation
    images, the last one where pruned), accuracy (NaN where pruned), and the settings.
    """
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "loss": trial.value,
            "accuracy": trial.user_attrs.get("accuracy", np.nan),
        }
        | trial.params
        for trial in searched.trials
        if trial.state.is_finished()
    ]
    return pd.DataFrame(rows).sort_values(["state", "loss"], ignore_index=True)


def importances(searched: optuna.Study) -> pd.Series:
    """Return how much of the losses' spread each setting explains, 0 to 1, largest first.

    Of the complete trials, by PED-ANOVA: Watanabe et al. (2023).
    """
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return pd.Series(optuna.importance.get_param_importances(searched, evaluator=evaluator))


def upsampling_study(
    manifest: pd.DataFrame, config: RunConfig, rates: tuple[float, ...] = RATES
) -> pd.DataFrame:
    """Train the report's head with several shares of COVID-19 in its batches, in folds.

    Args:
        rates: up-sampling rates; 0 takes images as they come.

    Returns:
        one row per rate: rate; share, of COVID-19 in a batch, which is that of the images at rate
        0; recall and precision of COVID-19 and ece, the calibration error of
        its probability, each with low and high (95 %: Wilson; ece by a bootstrap of patients);
        n; p, McNemar's exact test of its recall against that of the rate before. Section 3.4 of
        the report fixes 30 %.
    """
    rows, before = [], None
    for rate in rates:
        judged = experiments.cross_validate(
            experiments.EXPERIMENTS[1], manifest, config.for_folds().but(upsampling_rate=rate)
        )
        is_covid = probabilities(judged)[1] == COVID
        row = recall_and_precision(judged.prediction == CLASS_NAMES[COVID], is_covid)
        found = judged[judged.label == CLASS_NAMES[COVID]].set_index("path")
        found = found.prediction == CLASS_NAMES[COVID]
        p = np.nan if before is None else paired_p(before, found)
        told = {"rate": rate, "share": rate or is_covid.mean()}
        rows.append(told | row | _covid_calibration(judged, config.seed) | {"p": p})
        before = found
    return pd.DataFrame(rows)


def rare_class_study(
    manifest: pd.DataFrame, config: RunConfig, n_rare: int, rates=(0.0, 0.3)
) -> pd.DataFrame:
    """Train the report's head with COVID-19 as rare as one likes, at several up-sampling rates.

    Of the training images with COVID-19 only those of the first patients stay. The others are
    test images: no network has seen these patients, and they make the recall exact.

    Args:
        manifest: a manifest with `split` filled.
        config: the settings of the training.
        n_rare: training images with COVID-19, or a few more where the last patient has several.
        rates: up-sampling rates; 0 takes images as they come.

    Returns:
        one row per rate: rate, rare (training images with COVID-19) and others; recall, and alarms,
        the share of the other classes that is called COVID-19, each with low and high (95 %,
        Wilson), and n, the test images.

    Raises:
        ValueError: no training image with COVID-19 stays.
    """
    labels, patients = data.label_ids(manifest), manifest.patient_id.to_numpy()
    is_covid, train = labels == COVID, (manifest.split == "train").to_numpy()
    kept = pd.unique(patients[is_covid & train][:n_rare])
    train = train & (~is_covid | np.isin(patients, kept))
    if not (train & is_covid).any():
        raise ValueError(f"found {n_rare} images of COVID-19 to train on: give 1 or more")
    test = ~np.isin(patients, patients[train])
    features, rows = network.extract_features(manifest, Preprocessing(), config.scaling), []
    for rate in rates:
        keras.utils.set_random_seed(config.seed % 2**32)
        head = network.build_head()
        settings = config.but(upsampling_rate=rate)
        network.train_head(head, features[train], labels[train], settings)
        called = network.predict_logits(head, features[test]).argmax(axis=1) == COVID
        row = {"rate": rate, "rare": int((train & is_covid).sum())}
        row["others"] = int((train & ~is_covid).sum())
        for name, who in (("recall", is_covid[test]), ("alarms", ~is_covid[test])):
            row |= _share(name, called[who])
        rows.append(row | {"n": int(test.sum())})
    return pd.DataFrame(rows)


def _covid_calibration(judged: pd.DataFrame, seed: int) -> dict:
    """Return the calibration error of COVID-19 against the rest, with its interval."""
    probs, labels = probabilities(judged)
    two = np.stack([1 - probs[:, COVID], probs[:, COVID]], axis=1).clip(0, 1)
    is_covid = (labels == COVID).astype(int)
    whole = metrics.expected_calibration_error(two, is_covid)
    rows = judged.groupby("patient_id").indices
    patients, rng = list(rows), np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        places = rng.integers(len(patients), size=len(patients))
        again = np.concatenate([rows[patients[place]] for place in places])
        drawn.append(metrics.expected_calibration_error(two[again], is_covid[again]))
    # drawing again makes the error larger on average: the draws are moved back to the estimate
    low, high = np.quantile(np.array(drawn) + whole - np.mean(drawn), [0.025, 0.975]).clip(0, 1)
    return {"ece": whole, "ece_low": low, "ece_high": high}


def cut_for_recall(scores, is_covid, wanted: float = WANTED_RECALL) -> float:
    """Return the highest cut at which the wanted share of COVID-19 images, above 0, reaches it.

    The scores are probabilities of COVID-19 (N,), of validation images; in `is_covid`, bool (N,),
    one is True, or a `ValueError` says so. An image is called COVID-19 where its score is at least
    the cut.
    """
    of_covid = np.sort(np.asarray(scores)[np.asarray(is_covid)])[::-1]
    if not len(of_covid):
        raise ValueError("no COVID-19 image to choose the cut by")
    return float(of_covid[int(np.ceil(wanted * len(of_covid) - 1e-9)) - 1])


def judged_cuts(recipe: Recipe, manifest: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Judge a recipe in folds, each with a temperature and a cut from its own training images.

    For each fold the training images are judged in inner folds; on these the temperature is
    fitted and the cut for 95 % recall is chosen. The test images have no part in it.

    Args:
        config: `folds`, `split_by`, `seed`.

    Returns:
        predictions as of `cross_validate_recipe`, and temperature, cut, and the three
        probabilities after scaling as `scaled 0`, `scaled 1`, `scaled 2`.
    """
    features = cache(partial(recipe_features, manifest, recipe))
    outer = cross_validate_recipe(recipe, manifest, config, features)
    judged = []
    for number, part in enumerate(data.split_folds(manifest, config)):
        rows = np.flatnonzero(part.split == "train")
        train = manifest.iloc[rows].reset_index(drop=True)
        inner = cross_validate_recipe(
            recipe, train, config.but(folds=INNER_FOLDS), lambda rows=rows: features()[rows]
        )
        judged.append(_scaled(outer[outer.fold == number], inner))
    return pd.concat(judged, ignore_index=True)


def _scaled(test: pd.DataFrame, inner: pd.DataFrame) -> pd.DataFrame:
    probs, labels = probabilities(inner)
    logits = np.log(probs + FAINT)
    temperature = metrics.fit_temperature(logits, labels)
    scaled = metrics.temperature_scale(logits, temperature)
    cut = cut_for_recall(scaled[:, COVID], labels == COVID)
    test_logits = np.log(probabilities(test)[0] + FAINT)
    test = test.assign(temperature=temperature, cut=cut)
    columns = [f"scaled {number}" for number in range(scaled.shape[1])]
    test[columns] = metrics.temperature_scale(test_logits, temperature)
    return test


def cuts_table(judged: pd.DataFrame) -> pd.DataFrame:
    """Return recall and precision of COVID-19 at both cuts, and the calibration error.

    Args:
        judged: what `judged_cuts` returns.

    Returns:
        one row per cut: cut, recall, precision with low and high (95 % Wilson), n, ece_before and
        ece_after temperature scaling.
    """
    probs, labels = probabilities(judged)
    scaled = judged[[f"scaled {number}" for number in range(probs.shape[1])]].to_numpy(float)
    before = metrics.expected_calibration_error(probs, labels)
    after = metrics.expected_calibration_error(scaled, labels)
    rows = []
    for name, cut in (("0.5", 0.5), ("95 % recall on inner folds", judged["cut"].to_numpy())):
        row = recall_and_precision(scaled[:, COVID] >= cut, labels == COVID)
        rows.append({"cut": name} | row | {"ece_before": before, "ece_after": after})
    return pd.DataFrame(rows)


def recall_and_precision(called, is_covid) -> dict:
    """Return recall and precision with 95 % Wilson intervals, and n; NaN where undefined.

    Both arguments are bool (N,): called COVID-19, and of it.
    """
    called, is_covid = np.asarray(called), np.asarray(is_covid)
    shares = _share("recall", called[is_covid]) | _share("precision", is_covid[called])
    return shares | {"n": len(called)}


def _share(name: str, flags: np.ndarray) -> dict:
    """Return the share of flags that are up, with its 95 % Wilson interval; NaN for no flag."""
    hits, n = int(flags.sum()), len(flags)
    low, high = metrics.wilson_interval(hits, n) if n else (np.nan, np.nan)
    return {name: hits / n if n else np.nan, f"{name}_low": low, f"{name}_high": high}


def _searched(config: RunConfig) -> dict:
    """Return the settings of a configuration that a study searches."""
    names = ("learning_rate", "decay", "batch_size", "upsampling_rate", "epochs")
    return {name: getattr(config, name) for name in names}


def _fingerprint(part: pd.DataFrame, config: RunConfig) -> str:
    """Return a short name of a split of these images and of what is not searched."""
    content = part[["path", "label", "split"]].to_csv(index=False) + str(config)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
