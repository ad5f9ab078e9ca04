import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from support.builders import raw_columns, with_usage
from telelink_churn.definition import CHURN as CHURN_DEFINITION
from telelink_clv.definition import CLV
from telelink_shared import artifact
from telelink_shared.artifact import CARD
from telelink_shared.customer import CHARGES, ELEVEN, USAGE
from telelink_shared.serving.model import load_model
from telelink_training.config import CONFIGS, load_config
from telelink_training.data import CHURN, LIFETIME_VALUE, DataError, Dataset, lifetime_value_usd, synthetic
from telelink_training.drivers import reference_customer
from telelink_training.releasing import SIMULATED_NOTE, _verdicts, lifetime_values, release_churn, release_clv

TRAIN, TEST = synthetic(300, seed=1), synthetic(200, seed=2)


def ends(name):
    """The committed configuration with the variants for all usage and for none, tried once."""
    config = load_config(CONFIGS / f"{name}.toml")
    variants = tuple(variant for variant in config.variants if variant.compare)
    return dataclasses.replace(config, folds=2, repeats={"small": 1}, variants=variants)


CLV_CONFIG = ends("clv")
GRID = {"small": {"features": ["lean"], "n_estimators": [5], "min_samples_leaf": [5], "resampling": ["smote"]}}


def churn_config(config=None):
    """A single small forest to try for each variant."""
    config = config or ends("churn")
    return dataclasses.replace(
        config, variants=tuple(dataclasses.replace(variant, search=GRID) for variant in config.variants)
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


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Folder and print of a release of both models, by name."""
    models_dir = tmp_path_factory.mktemp("models")
    return {"churn": churn_release(TRAIN, TEST, models_dir), "clv": clv_release(TRAIN, TEST, models_dir)}


def test_a_churn_release_loads_and_its_card_names_what_was_measured(released):
    folder, printed = released["churn"]
    model = load_model(CHURN_DEFINITION, folder.parents[1])
    card = (folder / CARD).read_text()
    measured = model.manifest.metrics["variants"]
    assert {name: each["rows"] for name, each in measured.items()} == {"usage": 200, "eleven": 200}
    for name, each in measured.items():
        assert f"| {name} | 200 | {each['accuracy']:.4g} (" in card
        assert f"| {name} | 200 | {each['accuracy']:.4g} (" in printed
    for candidate in ("logistic regression", "random forest", "gradient boosting", "tuned random forest"):
        assert f"| usage | {candidate}" in printed
    assert f"Trained on 300 rows: {TRAIN.source}" in card
    assert f"Reference customer: account_length {model.manifest.reference['account_length']:g}, " in card
    assert "f1_at_best_f1" in card
    assert f"Its mean width on the reported rows: {model.manifest.variants[0].name} 0." in card


def test_a_value_release_says_that_its_target_is_simulated(released):
    folder, _ = released["clv"]
    manifest = load_model(CLV, folder.parents[1]).manifest
    assert manifest.data["target_is_simulated"] is True
    assert SIMULATED_NOTE in manifest.notes
    assert SIMULATED_NOTE in (folder / CARD).read_text()
    # Least squares on the same noise come near to what made the values.
    (limit,) = [note for note in manifest.notes if "formula itself" in note]
    off_by = float(limit.partition("off by ")[2].partition(" ")[0])
    assert manifest.metrics["variants"]["usage"]["mae_usd"] == pytest.approx(off_by, rel=0.1)
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


def test_some_usage_is_answered_by_the_variant_that_needs_just_that(tmp_path):
    whole = load_config(CONFIGS / "churn.toml")
    parts = [variant for variant in whole.variants if variant.name in ("day_evening", "day", "eleven")]
    config = dataclasses.replace(whole, folds=2, repeats={"small": 1}, variants=tuple(parts))
    train, test = (Dataset(data.frame.drop(columns=list(CHARGES)), data.source) for data in (TRAIN, TEST))
    release_churn(train, test, churn_config(config), search="small", jobs=1, models_dir=tmp_path)
    model = load_model(CHURN_DEFINITION, tmp_path)
    customers = [
        with_usage(totalNightMinutes=None, totalIntlMinutes=None),
        with_usage(totalEveMinutes=None),
        with_usage(totalDayMinutes=None),
        with_usage(totalEveMinutes=None, totalEveCharge=17.0),
    ]
    columns = raw_columns(customers) | {"total_eve_charge": [None, None, None, 17.0]}
    answered = model.infer(columns, n_rows=4)
    assert answered["variant"].tolist() == ["day_evening", "day", "eleven", "day_evening"]
    losses = model.manifest.metrics["variants"]
    assert losses["day_evening"]["log_loss"] < losses["eleven"]["log_loss"]
    assert set(model.manifest.metrics["drivers"]) == {"eleven"}


def test_a_release_has_its_pictures_its_reference_customer_and_what_was_chosen(released):
    for folder, _ in released.values():
        manifest = artifact.read_manifest(folder)
        (picture,) = [name for name in manifest.files if name.endswith(".svg")]
        assert f"]({picture})" in (folder / CARD).read_text()
        assert ET.parse(folder / picture).getroot().tag.endswith("svg")
        assert manifest.reference == reference_customer(TRAIN)
        assert [*manifest.metrics["chosen"]] == [*manifest.metrics["drivers"]] == ["usage", "eleven"]
        for measured in manifest.metrics["variants"].values():
            for name, interval in measured.items():
                if name.endswith("_interval"):
                    assert interval[0] <= measured[name.removesuffix("_interval")] <= interval[1]


def test_the_interval_s_coverage_is_told_by_tenure(released):
    folder, _ = released["clv"]
    for measured in artifact.read_manifest(folder).metrics["variants"].values():
        bands = measured["interval_coverage_by_tenure"].values()
        assert sum(band["rows"] for band in bands) == 200
        inside = sum(band["rows"] * band["coverage"] for band in bands)
        assert inside / 200 == pytest.approx(measured["interval_coverage"])


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


def a_row(candidate, loss, spread=0.001, variant="usage"):
    return {"variant": variant, "candidate": candidate, "log_loss": loss, "spread": {"log_loss": spread}}


@pytest.mark.parametrize(
    ("other", "word"), [(0.32, "is better"), (0.309, "is no worse than chance allows"), (0.30, "is clearly worse")]
)
def test_a_card_says_how_the_served_kind_of_model_does_against_the_best_of_the_others(other, word):
    rows = [
        a_row("logistic regression", 0.4),
        a_row("gradient boosting", other),
        a_row("tuned random forest (trees=9)", 0.31),
    ]
    rows.append(a_row("random forest", 0.2))
    (sentence,) = _verdicts(rows, served="tuned random forest", figure="log_loss")
    assert sentence == (
        f"Variant usage: the served tuned random forest {word} (log_loss 0.31; "
        f"the best of other kinds, gradient boosting, {other:g})."
    )


def test_a_variant_that_is_compared_with_nothing_has_no_verdict():
    assert _verdicts([a_row("forest (trees=9)", 0.31)], served="forest", figure="log_loss") == []
