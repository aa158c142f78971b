import dataclasses

import pytest

from xraylib import config, report
from xraylib.config import PROFILES, RunConfig


def test_defaults_are_the_reports_table_3():
    defaults = RunConfig()
    assert defaults.learning_rate == report.TABLE_3["learning rate"]
    assert defaults.decay == report.TABLE_3["decay"]
    assert defaults.epochs == report.TABLE_3["epochs"]
    assert defaults.batch_size == report.TABLE_3["batch size"]
    assert defaults.upsampling_rate * 100 == report.TABLE_3["up-sampling of COVID-19 (%)"]


def test_a_changed_copy_leaves_the_original():
    before = RunConfig()
    after = before.but(epochs=3, seed=1)
    assert (after.epochs, after.seed, before.epochs) == (3, 1, 50)
    assert after.but(epochs=50, seed=before.seed) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.epochs = 3
    with pytest.raises(TypeError, match="epoch_count"):
        before.but(epoch_count=3)


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_by_name(name):
    assert config.profile(name) is PROFILES[name]


def test_unknown_profile_lists_the_names():
    with pytest.raises(KeyError, match="quick, real, report"):
        config.profile("fast")


def test_home_is_made_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYLIB_HOME", str(tmp_path / "new"))
    assert config.home("a", "b") == tmp_path / "new" / "a" / "b"
    assert (tmp_path / "new" / "a" / "b").is_dir()
    assert config.home("a", "b").is_dir()  # again


def test_home_may_be_relative_or_below_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XRAYLIB_HOME", "here")
    assert config.home() == tmp_path / "here"
    monkeypatch.setenv("XRAYLIB_HOME", "~/there")
    assert config.home() == tmp_path / "user" / "there"


def test_without_the_variable_home_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("XRAYLIB_HOME", raising=False)
    monkeypatch.setattr(
        config.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name)
    )
    assert config.home("runs") == tmp_path / "cache" / "xraylib-book" / "runs"


def test_the_reports_profile_is_the_report_to_the_letter():
    letter, kept = PROFILES["report"], PROFILES["report_kept"]
    assert letter == RunConfig(dataset="covidx", split_by="image", on_the_fly=True)
    assert kept == letter.but(on_the_fly=False)
    assert not letter.for_folds().on_the_fly
