"""The classifier for unseen hospitals, on made-up features whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from tools import hospitals

from xraylib import plots, studies
from xraylib.config import CLASS_NAMES
from xraylib.studies import unseen

SITES = {  # as in the real sets: no hospital has all classes, none has both diseases
    "A": ("normal", "pneumonia"),
    "B": ("normal", "pneumonia"),
    "C": ("normal", "other"),
    "D": ("COVID-19",),
    "E": ("COVID-19",),
    "F": ("COVID-19",),
}


QUIET = [unseen.Recipe(("told",), shrinkage=0.5, noise=0.0)]


def make_hospitals(n=30, features=12, hospital=3.0, seed=0, disease=4.0):
    """Return features and manifest: columns for sick, disease and hospital."""
    rng = np.random.default_rng(seed)
    rows = [
        (label, site, f"{site}-{label}-{i // 2}")
        for site, labels in SITES.items()
        for label in labels
        for i in range(n)
    ]
    manifest = pd.DataFrame(rows, columns=["label", "site", "patient_id"])
    x = rng.standard_normal((len(manifest), features))
    x[:, 0] += disease * (manifest.label != "normal")
    x[:, 1] += disease * (manifest.label == "COVID-19")
    offset = {site: hospital * rng.standard_normal(features - 2) for site in SITES}
    x[:, 2:] += np.stack([offset[site] for site in manifest.site])
    return x.astype(np.float32), manifest


def test_fisher_is_the_textbooks_for_one_hospital():
    """Against weights and bias by hand, without shrinkage and with features of unit spread."""
    x, manifest = make_hospitals(200, 4, 0.0)
    own = (manifest.site == "A").to_numpy()
    sick = (manifest.label != "normal").to_numpy()[own]
    weights, bias = studies.discriminant(x[own], sick, manifest.site[own].to_numpy(), 1e-6, 0.0)
    no, yes = x[own][~sick], x[own][sick]
    within = (np.cov(no.T, bias=True) + np.cov(yes.T, bias=True)) / 2
    by_hand = np.linalg.solve(within, yes.mean(axis=0) - no.mean(axis=0))
    np.testing.assert_allclose(weights[:, 1] - weights[:, 0], by_hand, rtol=1e-2, atol=1e-3)
    middle = (yes.mean(axis=0) + no.mean(axis=0)) / 2
    assert bias[1] - bias[0] == pytest.approx(-by_hand @ middle, rel=1e-2)


def test_answers_weigh_alike_and_so_do_hospitals():
    x, manifest = make_hospitals()
    label, site = manifest.label.to_numpy(), manifest.site.to_numpy()
    once = studies.discriminant(x, label, site, 0.5, 3.0)
    doubled = np.concatenate([np.arange(len(x)), np.flatnonzero(site == "D")])
    again = studies.discriminant(x[doubled], label[doubled], site[doubled], 0.5, 3.0)
    for one, other in zip(once, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_where_hospitals_of_one_answer_differ_the_discriminant_learns_not_to_look():
    x, manifest = make_hospitals(hospital=0.0)
    x[:, 5] += manifest.site.map({"A": 0, "B": 0, "C": 0, "D": 9, "E": 0, "F": 9}).to_numpy()
    sick = (manifest.label != "normal").to_numpy()
    covid = (manifest.label == "COVID-19").to_numpy()
    trust = []
    for noise in (0.0, 10.0):
        asked = covid[sick], manifest.site[sick].to_numpy(), 0.5, noise
        weights = studies.discriminant(x[sick], *asked)[0]
        change = weights[:, 1] - weights[:, 0]
        trust.append(change[5] / change[1])
    assert trust[1] < trust[0] / 2


def test_two_questions_ignore_what_a_hospital_adds_to_all_its_images():
    """A column in which hospitals differ widely answers "sick?" only for the one question."""
    x, manifest = make_hospitals(hospital=0.0)
    x[:, 5] += manifest.site.map({"A": 0, "B": 0, "C": 0, "D": 9, "E": 9, "F": 9}).to_numpy()
    asked = studies.fit_two_questions(x, manifest, 0.5, 3.0)
    assert abs(asked.weights[5, 0]) < 0.2 * abs(asked.weights[0, 0])
    usual = studies.fit_one_question(x, manifest, 0.5, 0.0).weights
    assert usual[5, 2] - usual[5, 0] > 0.5 * (usual[0, 2] - usual[0, 0])


def test_probabilities_are_those_of_the_questions():
    x, manifest = make_hospitals()
    for fit in (studies.fit_one_question, studies.fit_two_questions):
        head = fit(x, manifest)
        probs = head.probs(x)
        assert probs.shape == (len(x), 3) and np.allclose(probs.sum(axis=1), 1)
    scores = (x @ head.weights + head.bias) / head.temperature
    sick, covid = 1 / (1 + np.exp(-scores.T))
    np.testing.assert_allclose(probs[:, 0], 1 - sick, atol=1e-5)
    np.testing.assert_allclose(probs[:, 2], sick * covid, atol=1e-5)


def test_each_hospital_is_judged_by_the_others_alone():
    x, manifest = make_hospitals(hospital=0.0, disease=12.0)
    manifest.loc[0, "patient_id"] = manifest.patient_id.iloc[-1]  # one patient in A and in E
    for site, train, test in studies.leave_one_out(manifest):
        assert set(manifest.site[test]) == {site} and site not in set(manifest.site[train])
        assert not set(manifest.patient_id[test]) & set(manifest.patient_id[train])
    judged = studies.judge_unseen({"told": x}, manifest, QUIET)
    assert judged.index.equals(manifest.index)
    assert studies.unseen_figures(judged)["macro recall"] > 0.9
    x[manifest.site == "E", 1] -= 12  # looks like pneumonia: no head has seen that it is not
    judged = studies.judge_unseen({"told": x}, manifest, QUIET)
    told = judged.loc[judged.site == "E", list(CLASS_NAMES)].idxmax(axis=1)
    assert (told == "pneumonia").mean() > 0.6 and not (told == "COVID-19").any()


def test_figures_weigh_hospitals_alike_and_leave_children_out_of_false_alarms():
    rows = [("normal", "A", "normal")] * 30 + [("normal", "kermany", "COVID-19")] * 10
    rows += [("pneumonia", "A", "pneumonia")] * 10 + [("COVID-19", "D", "normal")] * 10
    rows += [("COVID-19", "few", "COVID-19")] * 9  # too few to count
    judged = pd.DataFrame(rows, columns=["label", "site", "told"])
    judged = judged.assign(patient_id=[str(i) for i in range(len(rows))])
    judged = judged.join(pd.get_dummies(judged.told)[list(CLASS_NAMES)].astype(float))
    figures = studies.unseen_figures(judged)
    assert figures["normal recall"] == pytest.approx(0.5) and figures["pneumonia recall"] == 1
    assert figures["COVID-19 recall"] == 0 and figures["false COVID-19"] == 0
    assert figures["macro recall"] == pytest.approx(0.5)


def test_intervals_hold_the_figure_and_draw_patients():
    x, manifest = make_hospitals()
    noise = np.random.default_rng(1).normal(0, 3, x.shape)
    judged = studies.judge_unseen({"told": x + noise}, manifest, QUIET)
    figures = studies.figures_with_intervals(judged, draws=200)
    name = "macro recall"
    assert figures[f"{name} low"] < figures[name] < figures[f"{name} high"]
    one = judged.assign(patient_id=judged.site + judged.label)  # a single patient in each cell
    figures = studies.figures_with_intervals(one, draws=20)
    assert figures[f"{name} low"] == pytest.approx(figures[f"{name} high"])


def test_the_choice_is_made_without_the_hospital_that_is_judged():
    """Recipe b is right in E alone, where no choice may look; recipe a everywhere else."""
    x, manifest = make_hospitals(hospital=0.0)
    inverted = x.copy()
    inverted[manifest.site == "E"] *= -1
    recipes = [Fixed(-1.0), Fixed(1.0)]
    judged = studies.judge_unseen({"told": inverted}, manifest, recipes)
    assert set(judged.recipe) == {"Fixed 1.0"}
    told = judged.loc[judged.site == "E", list(CLASS_NAMES)].idxmax(axis=1)
    assert not (told == "COVID-19").any()


class Fixed:
    """A recipe that knows the answers where features have one sign."""

    def __init__(self, sign):
        self.sign = sign

    def look(self, features):
        return features["told"]

    def fit(self, features, manifest):
        weights = np.zeros((features["told"].shape[1], 2), np.float32)
        weights[[0, 1], [0, 1]] = self.sign
        centre = np.zeros(len(weights))
        bias = np.array([-2.0, -2.0]) * self.sign
        return studies.Head(weights, bias, centre, centre + 1, temperature=0.1)

    def __str__(self):
        return f"Fixed {self.sign}"


def test_the_curve_draws_so_many_hospitals_and_images():
    x, manifest = make_hospitals()
    rng = np.random.default_rng(0)
    train = (manifest.site != "E").to_numpy()
    for number, sites in ((1, 3), (2, 6), (3, 7)):  # C has normal lungs, D and F COVID-19
        drawn = manifest.iloc[hospitals.draw_hospitals(manifest, train, number, 12, rng)]
        assert not drawn.index.duplicated().any() and "E" not in set(drawn.site)
        assert drawn.groupby(["label", "site"]).ngroups == sites
        assert drawn.label.value_counts().to_dict() == dict.fromkeys(CLASS_NAMES, 12)
    table = hospitals.hospital_curve({"told": x}, manifest, (1, 2), 12, (0, 1))
    assert table.groupby("hospitals").seed.apply(list).tolist() == [[0, 1], [0, 1]]
    assert len(plots.plot_hospitals(table).axes) == 2


def test_the_only_hospital_of_a_class_is_not_left_out():
    x, manifest = make_hospitals()
    few = (manifest.site != "B").to_numpy()  # pneumonia then comes from A alone
    assert [site for site, _, _ in studies.leave_one_out(manifest[few])] == ["C", "D", "E", "F"]
    judged = studies.judge_unseen({"told": x[few]}, manifest[few], QUIET)
    assert judged.normal[judged.site == "A"].isna().all()
    assert np.isfinite(studies.unseen_figures(judged)["macro recall"])


def test_what_is_far_from_all_training_images_is_unlike_them():
    x, manifest = make_hospitals()
    head = studies.fit_two_questions(x, manifest)
    assert head.distance(x).mean() == pytest.approx(1, abs=0.1)
    assert not head.is_unlike(x + 1e6).any()  # no cut has been set
