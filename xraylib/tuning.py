"""Tuning on kept features with Optuna, and what up-sampling does to COVID-19."""

import hashlib

import keras
import numpy as np
import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from xraylib import block6, calibration, cuts, datasets, experiments, splitting, stacks
from xraylib.config import CLASS_NAMES, COVID, RunConfig, home
from xraylib.recipes import BLOCK6, ORIGINAL, Recipe, inputs, take

RATES = (0.0, 0.1, 0.3, 0.5)
DRAWS = 300  # of patients, for the interval of the calibration error
# one view and one network: what is tuned shall be quick to train
TUNED = BLOCK6.but(name="tuned block6 stack", views=(ORIGINAL,))


def suggest(trial: optuna.Trial, recipe: Recipe = TUNED) -> Recipe:
    """Return a recipe with the settings that a trial proposes."""
    return recipe.but(
        learning_rate=trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        dropout=trial.suggest_float("dropout", 0.0, 0.7),
        width=trial.suggest_categorical("width", [64, 128, 256, 512]),
        upsampling_rate=trial.suggest_float("upsampling_rate", 0.0, 0.5, step=0.1),
        epochs=trial.suggest_int("epochs", 8, 24, step=4),
    )


def study(
    manifest: pd.DataFrame, config: RunConfig, n_trials: int, name: str = "block6"
) -> optuna.Study:
    """Search settings of the block6 stack, going on where an earlier process stopped.

    A trial trains on the training images of one split and is judged by the negative log
    likelihood on its validation images; the split's test images are never looked at. A trial
    that is worse than the median of the earlier ones at the same epoch is given up.

    Args:
        manifest: one row an image.
        config: `seed` and `split_by` of the split.
        n_trials: that the study shall have in the end, given up ones included.
        name: of the study; its journal lies in `studies` in `XRAYLIB_HOME`.

    Returns:
        the study; see `best_trials`. Akiba et al., "Optuna" (2019).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found, labels = inputs(manifest, TUNED), datasets.label_ids(manifest)
    part = splitting.split(manifest, config)
    train, val = (np.flatnonzero(part.split == side) for side in ("train", "val"))
    journal = home("studies") / f"{name}-{_fingerprint(part)}.log"
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

    def objective(trial: optuna.Trial) -> float:
        watch = Watch(trial)
        validation = take(found, val), labels[val]
        block6.fit(
            take(found, train), labels[train], suggest(trial), config.seed, validation, [watch]
        )
        trial.set_user_attr("accuracy", watch.logs["val_accuracy"])
        return watch.logs["val_nll"]

    searched.optimize(objective, n_trials=max(0, n_trials - done))
    return searched


class Watch(keras.callbacks.Callback):
    """Tell a trial how its training goes, and give it up where the study says so."""

    def __init__(self, trial: optuna.Trial):
        super().__init__()
        self.trial, self.logs = trial, {}

    def on_epoch_end(self, epoch, logs=None):
        self.logs = {name: float(value) for name, value in logs.items()}
        self.trial.report(self.logs["val_nll"], epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"worse than the median after epoch {epoch + 1}")


def best_trials(searched: optuna.Study, n: int | None = None) -> pd.DataFrame:
    """Return the trials of a study, the best first and given up ones last.

    Args:
        searched: of `study`.
        n: rows to return; all by default.

    Returns:
        trial, state (`complete` or `pruned`), loss (negative log likelihood on validation
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
    return pd.DataFrame(rows).sort_values(["state", "loss"]).head(n).reset_index(drop=True)


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
        manifest: one row an image.
        config: of the folds and the training.
        rates: up-sampling rates; 0 takes images as they come.

    Returns:
        a row a rate: rate; recall and precision of COVID-19 and ece, the calibration error of
        its probability, each with low and high (95 %: Wilson; ece by a bootstrap of patients);
        n. Section 3.2.1 of the report fixes 30 %.
    """
    rows = []
    for rate in rates:
        judged = experiments.cross_validate(
            experiments.EXPERIMENTS[1], manifest, config.for_folds().but(upsampling_rate=rate)
        )
        is_covid = stacks.probabilities(judged)[1] == COVID
        row = cuts.recall_and_precision(judged.prediction == CLASS_NAMES[COVID], is_covid)
        rows.append({"rate": rate} | row | _covid_calibration(judged, config.seed))
    return pd.DataFrame(rows)


def _covid_calibration(judged: pd.DataFrame, seed: int) -> dict:
    """Return the calibration error of COVID-19 against the rest, with its interval."""
    probs, labels = stacks.probabilities(judged)
    two = np.stack([1 - probs[:, COVID], probs[:, COVID]], axis=1).clip(0, 1)
    is_covid = (labels == COVID).astype(int)
    whole = calibration.expected_calibration_error(two, is_covid)
    rows = judged.groupby("patient_id").indices
    patients, rng = list(rows), np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        places = rng.integers(len(patients), size=len(patients))
        again = np.concatenate([rows[patients[place]] for place in places])
        drawn.append(calibration.expected_calibration_error(two[again], is_covid[again]))
    # drawing again makes the error larger on average: the draws are moved back to the estimate
    low, high = np.quantile(np.array(drawn) + whole - np.mean(drawn), [0.025, 0.975]).clip(0, 1)
    return {"ece": whole, "ece_low": low, "ece_high": high}


def _fingerprint(part: pd.DataFrame) -> str:
    """Return a short name of a split of these images."""
    content = part[["path", "label", "split"]].to_csv(index=False)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
