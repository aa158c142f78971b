"""The ways to install agree on versions: constraints, conda, Binder, the oldest allowed."""

import re
import tomllib

import pytest
import yaml
from oldest import oldest
from packaging.requirements import Requirement
from packaging.version import Version
from tools import build

PROJECT = tomllib.loads((build.ROOT / "pyproject.toml").read_text("utf8"))["project"]
CONSTRAINTS = dict(
    re.findall(r"^([\w.-]+)==(\S+)$", (build.ROOT / "constraints.txt").read_text("utf8"), re.M)
)
DECLARED = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["book"]


def conda(place: str) -> tuple[list, list]:
    """Return what conda and what pip install."""
    *packages, pip = yaml.safe_load((build.ROOT / place).read_text("utf8"))["dependencies"]
    return packages, pip["pip"]


def test_conda_installs_the_versions_of_the_constraints():
    packages, pip = conda("environment.yml")
    assert pip == ["-c constraints.txt", "-e .[book]"]
    assert [name for name in packages if "=" in name] == ["python=3.11"]


def test_binder_installs_what_conda_installs():
    packages, pip = conda(".binder/environment.yml")
    assert packages == conda("environment.yml")[0]
    assert [line.replace("..", ".").replace("./", "") for line in pip] == conda("environment.yml")[
        1
    ]


@pytest.mark.parametrize("text", DECLARED)
def test_constraints_hold_a_version_that_is_allowed(text):
    requirement = Requirement(text)
    versions = {name.lower().replace("_", "-"): text for name, text in CONSTRAINTS.items()}
    assert Version(versions[requirement.name.lower()]) in requirement.specifier


def test_the_oldest_series_are_allowed():
    texts = oldest(["numpy>=2.0", "jupyter-book>=1.0.4,<2", "tf-keras-vis==0.8.7"])
    assert texts == ["numpy==2.0.*", "jupyter-book==1.0.4.*", "tf-keras-vis==0.8.7"]
    for text in oldest(PROJECT["dependencies"]):
        assert Requirement(text).specifier
