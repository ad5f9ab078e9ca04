import dataclasses

import numpy as np
import pytest

from telelink_churn.definition import CHURN as CHURN_DEFINITION
from telelink_clv.definition import CLV
from telelink_shared import artifact
from telelink_shared.artifact import CARD
from telelink_shared.customer import ELEVEN, USAGE
from telelink_shared.serving.model import load_model
from telelink_training.config import CONFIGS, load_config
from telelink_training.data import CHURN, LIFETIME_VALUE, DataError, Dataset, lifetime_value_usd, synthetic
from telelink_training.releasing import SIMULATED_NOTE, lifetime_values, release_churn, release_clv

TRAIN, TEST = synthetic(300, seed=1), synthetic(200, seed=2)
CLV_CONFIG = load_config(CONFIGS / "clv.toml")
GRID = {"small": {"features": ["lean"], "n_estimators": [5], "min_samples_leaf": [5], "resampling": ["smote"]}}


def churn_config():
    """The committed one with two folds and a single small forest to try."""
    config = load_config(CONFIGS / "churn.toml")
    return dataclasses.replace(
        config,
        folds=2,
        repeats={"small": 1},
        variants=tuple(dataclasses.replace(variant, search=GRID) for variant in config.variants),
    )


def only_eleven(dataset):
    return Dataset(dataset.frame[[CHURN, *ELEVEN]], dataset.source)


def with_gaps(dataset, n_known):
    """Usage for the first rows alone."""
    frame = dataset.frame.copy()
    frame.loc[n_known:, list(USAGE)] = np.nan
    return Dataset(frame, dataset.source)


def with_values(dataset, factor=1.0):
    return Dataset(dataset.frame.assign(**{LIFETIME_VALUE: factor * dataset.frame["account_length"]}), dataset.source)


def clv_release(train, test, models_dir):
    values = lifetime_values(train, test, seed=CLV_CONFIG.seed)
    return release_clv(train, test, values, CLV_CONFIG, search="small", jobs=1, models_dir=models_dir)


def churn_release(train, test, models_dir):
    return release_churn(train, test, churn_config(), search="small", jobs=1, models_dir=models_dir)


def test_a_churn_release_loads_and_its_card_names_what_was_measured(tmp_path):
    folder, printed = churn_release(TRAIN, TEST, tmp_path)
    model = load_model(CHURN_DEFINITION, tmp_path)
    card = (folder / CARD).read_text()
    measured = model.manifest.metrics["variants"]
    assert {name: each["rows"] for name, each in measured.items()} == {"usage": 200, "eleven": 200}
    for name, each in measured.items():
        assert f"| {name} | 200 | {each['accuracy']:.4g} (" in card
        assert f"| {name} | 200 | {each['accuracy']:.4g} (" in printed
    for candidate in ("logistic regression", "random forest", "gradient boosting", "tuned random forest"):
        assert f"| usage | {candidate}" in printed
    assert f"Trained on 300 rows: {TRAIN.source}" in card


def test_a_value_release_says_that_its_target_is_simulated(tmp_path):
    folder, _ = clv_release(TRAIN, TEST, tmp_path)
    manifest = load_model(CLV, tmp_path).manifest
    assert manifest.data["target_is_simulated"] is True
    assert SIMULATED_NOTE in manifest.notes
    assert SIMULATED_NOTE in (folder / CARD).read_text()
    predicted = manifest.quantiles["estimated_clv"]
    assert list(predicted.values()) == sorted(predicted.values())


def test_a_file_with_its_own_lifetime_values_is_trained_and_measured_on_them(tmp_path):
    folder, _ = clv_release(with_values(TRAIN), with_values(TEST), tmp_path)
    manifest = artifact.read_manifest(folder)
    assert manifest.data["target_is_simulated"] is False
    assert "simulated" not in (folder / CARD).read_text()
    assert manifest.metrics["variants"]["usage"]["r2"] == pytest.approx(1.0)


def test_customers_without_usage_can_be_trained_on(tmp_path):
    churn_release(only_eleven(TRAIN), only_eleven(TEST), tmp_path)
    clv_release(with_values(only_eleven(TRAIN)), with_values(only_eleven(TEST)), tmp_path)
    for definition in (CHURN_DEFINITION, CLV):
        assert [variant.name for variant in load_model(definition, tmp_path).manifest.variants] == ["eleven"]


def test_a_variant_is_measured_on_the_rows_that_it_can_answer(tmp_path):
    train, test = with_values(with_gaps(TRAIN, 150)), with_values(with_gaps(TEST, 120))
    for folder, _ in (churn_release(train, test, tmp_path), clv_release(train, test, tmp_path)):
        measured = artifact.read_manifest(folder).metrics["variants"]
        assert {name: each["rows"] for name, each in measured.items()} == {"usage": 120, "eleven": 200}


def test_usage_that_no_reported_row_has_is_not_measured(tmp_path):
    folder, _ = churn_release(TRAIN, only_eleven(TEST), tmp_path)
    assert list(artifact.read_manifest(folder).metrics["variants"]) == ["eleven"]
    assert [variant.name for variant in load_model(CHURN_DEFINITION, tmp_path).manifest.variants] == ["usage", "eleven"]


def test_reported_rows_have_noise_of_their_own():
    values = lifetime_values(TRAIN, TRAIN, seed=1)
    assert values.are_simulated
    assert not np.array_equal(values.train_usd, values.test_usd)
    assert np.array_equal(values.train_usd, lifetime_value_usd(TRAIN, seed=1)[0])


@pytest.mark.parametrize(
    ("train", "test", "rows"), [(with_values(TRAIN), TEST, 200), (TRAIN, with_values(TEST), 300)], ids=["test", "train"]
)
def test_real_and_simulated_values_are_never_compared(train, test, rows):
    with pytest.raises(DataError, match=rf"column lifetime_value_usd: missing in all {rows} rows of synthetic.* only"):
        lifetime_values(train, test, seed=1)
