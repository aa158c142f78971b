import numpy as np
import pandas as pd
import pytest
from test_stacks import draw_pooled
from tools import ceiling

from xraylib import plots
from xraylib.config import CLASS_NAMES, RunConfig
from xraylib.studies.stacks import LOGISTIC

CONFIG = RunConfig(folds=3, seed=5)


def test_the_curve_rises_with_the_images_trained_on(monkeypatch):
    pooled = draw_pooled(shift=0.15)
    monkeypatch.setattr(ceiling, "recipe_features", lambda manifest, recipe: pooled)
    manifest = pd.DataFrame({"label": np.tile(CLASS_NAMES, 20), "patient_id": np.arange(60) // 2})
    manifest = manifest.assign(path=manifest.index.astype(str), source="")
    table = ceiling.learning_curve(LOGISTIC.but(strength=1.0), manifest, CONFIG, shares=(0.1, 1.0))
    assert table.images.tolist() == sorted(table.images)
    assert table.images.iloc[-1] == pytest.approx(len(manifest) * 2 / 3, abs=2)
    assert table.accuracy.iloc[-1] > table.accuracy.iloc[0]
    assert (table.low <= table.accuracy).all() and (table.accuracy <= table.high).all()
    assert (table.n == len(manifest)).all()
    assert plots.plot_learning_curve(table).axes[0].get_xlabel().startswith("training images")


@pytest.mark.parametrize("share, patients", [(0.0, 1), (0.5, 5), (1.0, 10)])
def test_a_share_of_each_classs_patients_with_all_their_images(share, patients):
    table = pd.DataFrame({"label": np.repeat(CLASS_NAMES, 20), "patient_id": np.arange(60) // 2})
    chosen = table[ceiling.some_patients(table, share, seed=1)]
    assert (chosen.groupby("label").patient_id.nunique() == patients).all()
    assert (chosen.groupby("patient_id").size() == 2).all()


def test_a_larger_share_holds_the_patients_of_a_smaller_one():
    table = pd.DataFrame({"label": "normal", "patient_id": np.arange(20)})
    small, large = (ceiling.some_patients(table, share, seed=4) for share in (0.3, 0.6))
    assert (large >= small).all() and small.sum() == 6 and large.sum() == 12


def test_errors_that_all_share_are_counted_by_hand():
    labels = ["normal"] * 4 + ["pneumonia"] * 4
    one = ["normal", "COVID-19", "pneumonia", "normal"] + [
        "normal",
        "normal",
        "pneumonia",
        "COVID-19",
    ]
    two = ["normal", "COVID-19", "COVID-19", "normal"] + [
        "normal",
        "pneumonia",
        "normal",
        "COVID-19",
    ]
    paths = [str(number) for number in range(8)]
    tables = {
        name: pd.DataFrame({"path": paths, "label": labels, "prediction": called})
        for name, called in {"one": one, "two": two}.items()
    }
    tables["two"] = tables["two"].sample(frac=1, random_state=0)  # the order does not matter
    table = ceiling.shared_errors(tables).set_index("class")
    assert table.shared.to_dict() == {"normal": 0.25, "pneumonia": 0.5, ceiling.ALL_CLASSES: 0.375}
    assert table.wrong.to_dict() == {"normal": 0.5, "pneumonia": 0.75, ceiling.ALL_CLASSES: 0.625}
    assert table["by chance"][ceiling.ALL_CLASSES] == pytest.approx(5 / 8 * 5 / 8)
    assert table.n.to_dict() == {"normal": 4, "pneumonia": 4, ceiling.ALL_CLASSES: 8}
