import numpy as np
import pandas as pd
import pytest
from tools import measure

from xraylib import data, experiments, plots, sources
from xraylib.config import CLASS_NAMES, RunConfig
from xraylib.experiments import comparisons
from xraylib.images import Preprocessing

CONFIG = RunConfig(dataset="phantom", phantom_counts=(12, 10, 8), epochs=1, batch_size=20, folds=2)

# one epoch leaves classes that are never predicted
pytestmark = pytest.mark.filterwarnings("ignore::xraylib.metrics.counts.UndefinedMetricWarning")


@pytest.fixture(scope="module")
def manifest(module_home):
    return sources.provide(CONFIG)


@pytest.fixture(scope="module")
def grid(manifest):
    views = {name: experiments.VIEWS[name] for name in ("original", "silhouette")}
    return experiments.run_grid(manifest, CONFIG, views)


@pytest.mark.slow
def test_the_grid_judges_every_image_once_in_every_pair(grid, manifest):
    pairs = grid.groupby(["train_view", "test_view"])
    assert len(pairs) == 4
    for _, part in pairs:
        assert sorted(part.path) == sorted(manifest.path)


def test_the_grids_diagonal_is_what_the_run_itself_predicted(grid):
    """A head judged later, from its file, gives what it gave right after training."""
    alike = grid[(grid.train_view == "original") & (grid.test_view == "original")]
    fold = alike[alike.fold == 0]
    experiment = experiments.Experiment("grid original", Preprocessing(), Preprocessing())
    part = data.split_folds(sources.provide(CONFIG), CONFIG)[0]
    run = experiments.run(experiment, part, CONFIG)
    assert run.was_loaded
    columns = list(CLASS_NAMES)
    assert np.allclose(fold[columns], run.predictions[columns], atol=1e-4)


def test_summary_has_a_row_a_pair_with_intervals(grid):
    table = experiments.judge_groups(grid, ["train_view", "test_view"])
    assert len(table) == 4 and (table.n == 30).all()
    assert (table["accuracy low"] <= table.accuracy).all()
    assert (table.accuracy <= table["accuracy high"]).all()
    figure = plots.plot_grid(table)
    assert len(figure.axes[0].texts) == 4


def test_the_factorial_has_all_combinations_and_alike_views():
    cells = {cell.name: cell.experiment for cell in comparisons.FACTORIAL}
    assert len(cells) == 8
    assert cells["none"].train == Preprocessing()
    assert cells["segmentation + equalisation"].train.region == "lungs"
    assert all(e.train.still == e.judge and not e.mismatch for e in cells.values())


def made_up(right) -> pd.DataFrame:
    """Predictions of 40 images in all cells; `right` says for a cell how many are right."""
    rows = []
    for cell in comparisons.FACTORIAL:
        for i in range(40):
            label = CLASS_NAMES[2] if i % 2 else CLASS_NAMES[0]
            prediction = label if i < right(cell) else CLASS_NAMES[1]
            rows.append((f"{i}.png", f"p{i}", label, prediction, cell.name))
    return pd.DataFrame(rows, columns=["path", "patient_id", "label", "prediction", "cell"])


def test_effects_find_what_was_put_in():
    table = experiments.factor_effects(made_up(lambda cell: 20 + 8 * cell.segmentation))
    effects = table[table.measure == "accuracy"].set_index("factor")
    assert effects.effect["segmentation"] == pytest.approx(0.2)
    assert effects.effect.drop("segmentation").to_numpy() == pytest.approx(0)
    assert effects.low["segmentation"] > 0 and (effects.n == 40).all()
    recall = table[table.measure == "COVID-19 recall"].set_index("factor")
    assert recall.n.unique().tolist() == [20]
    assert recall.effect["segmentation"] == pytest.approx(0.2)
    assert len(plots.plot_effects(table).axes) == 2


def test_an_interaction_is_the_difference_of_two_effects():
    both = made_up(lambda cell: 20 + 8 * (cell.segmentation and cell.equalisation))
    effects = experiments.factor_effects(both).set_index(["measure", "factor"]).effect
    assert effects["accuracy", "segmentation x equalisation"] == pytest.approx(0.2)
    assert effects["accuracy", "segmentation"] == pytest.approx(0.1)


def test_augmentation_is_told_alone_and_on_segmented_images():
    two = made_up(lambda cell: 20 + cell.augmentation * (8 if cell.segmentation else -4))
    effects = experiments.factor_effects(two).set_index(["measure", "factor"]).effect
    assert effects["accuracy", "augmentation alone"] == pytest.approx(-0.1)
    assert effects["accuracy", "augmentation on segmented images"] == pytest.approx(0.2)


@pytest.mark.slow
def test_the_sweep_judges_all_levels_on_the_same_unconfounded_phantoms(module_home):
    table = experiments.confounding_sweep(CONFIG, levels=(0.0, 1.0), views=("original",))
    paths = [sorted(part.path) for _, part in table.groupby("confounding")]
    assert paths[0] == paths[1] and len(paths[0]) == 6 + 5 + 4
    points = experiments.judge_groups(table, ["confounding", "view"])
    assert plots.plot_sweep(points).axes[0].get_legend() is not None


@pytest.mark.slow
def test_the_suspects_are_judged_on_both_kinds_of_test_image(manifest):
    table = experiments.run_suspects(manifest, CONFIG, outside=("white",))
    assert table.cell.unique().tolist() == ["white", "white, equalised"]
    for _, part in table.groupby(["cell", "tested_on"]):
        assert sorted(part.path) == sorted(manifest.path)
    kinds = experiments.suspects_table(table).kind.value_counts()
    assert kinds["cell"] == 4 and kinds["effect"] == 2 * 2  # two measures, on two kinds of image


def test_contrasts_of_the_suspects_find_what_was_put_in():
    wanted = {"black": 30, "black, equalised": 26, "white": 20, "white, equalised": 10}
    rows = [
        (f"{i}.png", f"p{i}", CLASS_NAMES[2], CLASS_NAMES[2 if i < n else 0], cell)
        for cell, n in wanted.items()
        for i in range(40)
    ]
    table = pd.DataFrame(rows, columns=["path", "patient_id", "label", "prediction", "cell"])
    found = experiments.factor_effects(table, 0, experiments.suspect_contrasts())
    effect = found[found.measure == "accuracy"].set_index("factor").effect
    assert effect.to_dict() == pytest.approx(
        {
            "equalisation on black": -4 / 40,
            "equalisation on white": -10 / 40,
            "white in place of black": -10 / 40,
            "white in place of black when equalised": -16 / 40,
        }
    )


def test_three_kinds_of_padding_give_seven_effects_whose_weights_cancel():
    contrasts = experiments.suspect_contrasts(tuple(experiments.OUTSIDE))
    assert len(contrasts) == 7
    assert all(sum(weights.values()) == pytest.approx(0) for weights in contrasts.values())


def test_a_transform_is_trained_alone_and_judged_on_originals(manifest):
    table = measure.run_transforms(manifest, CONFIG, transforms=("flip",))
    assert table.cell.unique().tolist() == ["none", "flip"]
    for _, part in table.groupby("cell"):
        assert sorted(part.path) == sorted(manifest.path)
    effects = experiments.factor_effects(table, 0, {"flip": {"flip": 1, "none": -1}})
    assert effects.factor.tolist() == ["flip", "flip"]
