"""The ledger: verdicts follow from the evidence, and change with it."""

import re

import pandas as pd
import pytest

from xraylib import experiments, report, studies
from xraylib.studies import claims
from xraylib.studies.claims import DECIDERS, FAILS, HOLDS, IN_PART, OPEN


@pytest.fixture(scope="module")
def ledger():
    return studies.judge_claims()


def test_every_claim_is_judged_and_says_by_what(ledger):
    assert set(ledger.verdict) <= set(studies.VERDICTS)
    assert (ledger.number.str.len() > 3).all()
    assert set(ledger.decided_by) - {""} <= set(DECIDERS)


def test_no_decider_is_idle():
    assert set(DECIDERS) == set(report.load_claims().decided_by) - {""}


def test_what_is_known_to_hold_and_to_fail(ledger):
    """Some that anybody can check with a pencil."""
    verdicts = ledger.set_index("id").verdict
    assert verdicts["table-1-covid"] == HOLDS and verdicts["table-1-normal"] == IN_PART
    assert verdicts["isolation"] == FAILS and verdicts["specificity-2"] == FAILS
    assert verdicts["misses-1"] == HOLDS and verdicts["table-4-3"] == HOLDS
    assert verdicts["vgg16-layers"] == FAILS and verdicts["hardware"] == OPEN


def test_verdicts_follow_the_counts(monkeypatch):
    assert studies.judge_claim("table_4", "experiment 3").verdict == HOLDS
    rows = {name: tuple(row) for name, row in report.TABLE_4["experiment 3"].items()}
    rows["normal"] = (0.99, *rows["normal"][1:])
    monkeypatch.setattr(report, "TABLE_4", report.TABLE_4 | {"experiment 3": rows})
    judged = studies.judge_claim("table_4", "experiment 3")
    assert judged.verdict == IN_PART and "for 0.99" in judged.number
    perfect = {name: ((885, 0, 0), (0, 604, 0), (0, 0, 26)) for name in report.CONFUSION}
    monkeypatch.setattr(report, "CONFUSION", perfect)
    assert studies.judge_claim("covid_cell", "experiment 2; specificity; 100").verdict == HOLDS
    assert studies.judge_claim("isolated", "experiment 2; 95").verdict == FAILS
    assert studies.judge_claim("best_experiment", "").verdict == FAILS


def effects(low: float, high: float) -> pd.DataFrame:
    row = {"measure": "accuracy", "factor": "x", "effect": (low + high) / 2, "n": 10}
    return pd.DataFrame([row | {"low": low, "high": high}])


@pytest.mark.parametrize(
    ("ends", "lowered", "not_raised", "changed"),
    [
        ((-0.2, -0.1), HOLDS, HOLDS, HOLDS),
        ((-0.1, 0.1), OPEN, OPEN, OPEN),
        ((-0.005, 0.005), OPEN, HOLDS, OPEN),  # no gain of a point
        ((0.1, 0.2), FAILS, FAILS, HOLDS),
    ],
)
def test_verdicts_follow_a_runs_intervals(monkeypatch, ends, lowered, not_raised, changed):
    monkeypatch.setattr(report, "load_table", lambda profile, name: effects(*ends))
    assert studies.judge_claim("lowers", "any; x").verdict == lowered
    assert studies.judge_claim("does_not_raise", "any; x").verdict == not_raised
    assert studies.judge_claim("has_effect", "any; x").verdict == changed


@pytest.mark.parametrize(
    ("frame", "equalised", "verdict"),
    [(-0.1, -0.1, HOLDS), (-0.1, 0.1, FAILS), (0.1, -0.1, FAILS), (0.1, 0.1, HOLDS)],
)
def test_one_suspect_is_singled_out_if_it_alone_does_harm(monkeypatch, frame, equalised, verdict):
    outside = tuple(experiments.OUTSIDE)
    found = dict.fromkeys(experiments.suspect_contrasts(outside), 0.2)
    found["white frame in place of black when equalised"] = frame
    rows = [effects(high - 0.05, high).assign(factor=name) for name, high in found.items()]
    tables = {
        "suspects": pd.concat(rows).assign(tested_on="original"),
        "effects": effects(equalised - 0.05, equalised).assign(factor="equalisation"),
    }
    monkeypatch.setattr(report, "load_table", lambda profile, name: tables[name])
    judged = studies.judge_claim("suspects_untold", "")
    assert judged.verdict == verdict and "white frame" in judged.number


def test_rows_are_compared_by_their_intervals(monkeypatch):
    rows = [("a", 0.9, 0.8, 0.95), ("b", 0.5, 0.4, 0.6), ("c", 0.7, 0.55, 0.85)]
    table = pd.DataFrame(rows, columns=["view", "recall", "recall_low", "recall_high"])
    monkeypatch.setattr(report, "load_table", lambda profile, name: table)
    found = {
        pair: studies.judge_claim("above", f"t; recall; view={pair[0]}; view={pair[1]}").verdict
        for pair in ("ab", "ba", "ac")
    }
    assert found == {"ab": HOLDS, "ba": FAILS, "ac": OPEN}
    read = studies.judge_claim("not_above", "t; recall; view=a; view=b; as low")
    assert read.verdict == FAILS and read.number.startswith("read as: as low; recall 0.900")


def test_a_run_that_is_missing_leaves_a_claim_open(monkeypatch):
    def missing(profile, name):
        raise FileNotFoundError(name)

    monkeypatch.setattr(report, "load_table", missing)
    judged = studies.judge_claim("rising_curve", "")
    assert judged.verdict == OPEN and "learning_curve" in judged.number
    assert studies.judge_claim("", "nothing decides it").number == "nothing decides it"


def test_a_table_of_another_shape_leaves_a_claim_open(monkeypatch):
    monkeypatch.setattr(report, "load_table", lambda profile, name: pd.DataFrame({"x": [1]}))
    for name, of in (("lowers", "t; x"), ("unet_elsewhere", ""), ("maps_miss_lesions", "")):
        judged = studies.judge_claim(name, of)
        assert judged.verdict == OPEN and "column" in judged.number


def test_every_table_that_is_kept_decides_its_claim(ledger):
    """Only tables that no run has measured leave a claim open; a changed column would, too."""
    said = ledger.number[(ledger.verdict == OPEN) & (ledger.decided_by != "")]
    assert not said.str.contains("no column|no row|another form").any()


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(-0.2, -0.1, HOLDS), (-0.1, 0.3, OPEN), (0.1, 0.3, FAILS)]
)
def test_maps_are_judged_by_their_gain_over_the_floor(monkeypatch, low, high, verdict):
    row = {"maps": "grad_cam", "layer": "block6_conv2", "check": "energy inside"}
    row |= {
        "marks": "COVID-19 lesions",
        "gain": (low + high) / 2,
        "gain_low": low,
        "gain_high": high,
    }
    table = pd.DataFrame([row | {"floor": "edges", "n": 34}])
    monkeypatch.setattr(report, "load_table", lambda profile, name: table)
    assert studies.judge_claim("maps_miss_lesions", "").verdict == verdict


def test_what_the_released_code_shows_carries_its_if(ledger):
    """That a script drew Figure 7 is concluded from titles and names of files."""
    numbers = ledger.set_index("id").number
    for claim in ("figure-7-colours", "figure-7-place", "cam-score", "cam-mean", "cam-relu"):
        assert numbers[claim].startswith("if "), claim


def test_tables_on_radiographs_come_first(monkeypatch):
    asked = []

    def tables(profile, name):
        asked.append(profile)
        if profile == "real":
            raise FileNotFoundError
        return effects(0, 1)

    monkeypatch.setattr(report, "load_table", tables)
    assert claims.kept_table("t")[1] == "; run quick" and asked == ["real", "quick"]


def test_the_page_lists_all_and_can_be_read_without_a_script(ledger):
    shown = studies.claims_page(ledger)._repr_mimebundle_()
    page = shown["text/html"]
    assert page.count("<li ") == len(ledger)
    assert re.findall(r'id="claim-([\w-]+)"', page) == ledger.id.tolist()
    assert '<p hidden><label>section <select name="section">' in page
    assert page.count("<details>") == ledger.section.nunique()
    holding = (ledger[ledger.section == "1"].verdict == HOLDS).sum()
    assert f"<summary>Section 1: {holding} holds" in page or not holding
    assert page.count("<script>") == 1 and "http" not in page
    assert 'href="02_dataset.ipynb#cell-table-1"' in page
    assert ledger.id[0] in shown["text/plain"]


def test_what_a_claim_says_cannot_break_the_page(ledger):
    one = ledger.head(1).assign(says="<b>1 < 2</b>")
    assert "&lt;b&gt;1 &lt; 2" in studies.claims_page(one)._repr_mimebundle_()["text/html"]
