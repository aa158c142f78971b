"""Tables that take too long for a chapter, and what the kept ones say of themselves."""

import re

import nbformat
import pandas as pd
import pytest
from conftest import make_manifest
from tools import build, measure

from xraylib import experiments, report
from xraylib.config import RunConfig


@pytest.mark.slow
def test_each_experiment_is_trained_again_on_the_same_images(stand_in_vgg16, tmp_path):
    config = RunConfig(epochs=1, batch_size=6, augmented_views=1)
    manifest = make_manifest(tmp_path / "images", 12, with_masks=True)
    manifest = manifest.assign(split=["train"] * 6 + ["val"] * 3 + ["test"] * 3)
    table = measure.repeat(manifest, config, times=2)
    names = [experiment.name for experiment in experiments.EXPERIMENTS.values()]
    assert table.experiment.tolist() == [name for name in names for _ in range(2)]
    assert table.run_seed.tolist() == [0, 1] * 3
    assert (table.n == 3).all()
    first = experiments.run(experiments.EXPERIMENTS[2], manifest, config, run_seed=1)
    assert first.was_loaded
    row = table[(table.experiment == "experiment 2") & (table.run_seed == 1)]
    right = first.predictions.label == first.predictions.prediction
    assert row.accuracy.item() == right.mean()


def test_the_kept_table_holds_one_run_of_every_training():
    table = report.load_table("real", "repeats")
    assert not table.duplicated(["experiment", "run_seed"]).any()
    assert (table.groupby("experiment").size() == measure.TIMES).all()
    assert table.n.nunique() == table.seed.nunique() == 1


def test_a_table_is_kept_with_the_command_that_measured_it(monkeypatch, capsys):
    def folds(name: str) -> pd.DataFrame:
        return pd.DataFrame({"profile": [name]})

    kept = []
    monkeypatch.setattr(measure, "TABLES", (folds,))
    monkeypatch.setattr(report, "save_table", lambda *arguments: kept.append(arguments))
    measure.main(["folds", "--profile", "real"])
    ((table, *where),) = kept
    assert table.profile.tolist() == ["real"]
    assert where == ["real", "folds", "make measure TABLE=folds PROFILE=real"]
    assert "real" in capsys.readouterr().out


def test_an_unknown_table_is_refused_with_the_names_there_are(capsys):
    with pytest.raises(SystemExit):
        measure.main(["fold"])
    message = capsys.readouterr().err
    assert all(table.__name__ in message for table in measure.TABLES)


# counted when the stack with block 6 was still a recipe: its command is the one of that day
OLDER = {"shared_errors": "python -m xraylib.ceiling --profile real"}
KEPT = sorted((build.ROOT / "book/results/real").glob("*.csv"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_table_names_a_command_that_there_is(path):
    known = {"make book PROFILE=real", f"python -m xraylib.audit kermany --keep {path.stem}"}
    if path.stem in [table.__name__ for table in measure.TABLES]:
        known.add(f"make measure TABLE={path.stem} PROFILE=real")
    known.add(OLDER.get(path.stem))
    assert set(pd.read_csv(path).get("command", [])) <= known, "measure it again"


def test_no_chapter_writes_over_a_measured_table():
    chapters = [nbformat.read(path, as_version=4) for path in build.sources(build.ROOT)]
    code = "\n".join(cell.source for chapter in chapters for cell in chapter.cells)
    saved = set(re.findall(r'save_table\(.*?PROFILE,\s*"(\w+)"', code, re.DOTALL))
    assert "factorial" in saved
    assert saved.isdisjoint(table.__name__ for table in measure.TABLES)
