import dataclasses

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier

from telelink_shared.customer import MINUTES
from telelink_training import churn
from telelink_training.calibrating import CALIBRATIONS
from telelink_training.config import CONFIGS, ModelConfig, VariantConfig, load_config
from telelink_training.data import CHURN, Dataset, synthetic

ELEVEN = VariantConfig(
    name="eleven",
    needs=(),
    features={"lean": ("customer_service_calls",), "broad": ("account_length", "customer_service_calls")},
    categorical=("international_plan",),
    search={
        "small": {
            "features": ["broad", "lean"],
            "n_estimators": [5],
            "min_samples_leaf": [5],
            "resampling": ["none", "class_weight", "smote"],
        }
    },
)
USAGE = VariantConfig(
    name="usage",
    needs=MINUTES,
    features={"lean": ("bill_usd",), "broad": ("bill_usd", "customer_service_calls")},
    categorical=("voice_mail_plan",),
    search=ELEVEN.search,
)
# Without the candidates that it is compared with: for what does not hang on them.
ALONE = tuple(dataclasses.replace(variant, compare=False) for variant in (USAGE, ELEVEN))
CONFIG = ModelConfig(seed=11, folds=2, repeats={"small": 2}, variants=(USAGE, ELEVEN))


class Witness(ClassifierMixin, BaseEstimator):
    """Writes down how often each customer, known by one number, was fitted on and asked about."""

    def __init__(self, seen):
        self.seen = seen

    def __sklearn_clone__(self):
        return self

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen.append(("fit", X[:, 0].copy(), np.asarray(y)))
        return self

    def predict_proba(self, X):
        self.seen.append(("ask", X[:, 0].copy(), None))
        return np.column_stack([1 - X[:, 0] / 1_000, X[:, 0] / 1_000])


def test_resampling_never_sees_a_validation_row():
    seen = []
    pipeline = churn.forest(ELEVEN, {"features": "lean", "resampling": "smote"}, seed=1).pipeline
    pipeline.set_params(encode="passthrough", model=Witness(seen))
    X = np.arange(200.0).reshape(-1, 1)
    y = np.arange(200) % 5 == 0
    ((scores, again),) = churn.out_of_fold([(pipeline, X)], y, folds=4, repeats=2, seed=3, jobs=1, label="test")
    fits = [each for each in seen if each[0] == "fit"]
    asked = [each for each in seen if each[0] == "ask"]
    assert len(fits) == len(asked) == 8
    for (_, fitted_on, outcomes), (_, asked_about, _) in zip(fits, asked, strict=True):
        # 120 of the fold's 150 customers stay: as many leavers are made of the other 30, and nothing of anyone else.
        assert (len(fitted_on), outcomes.mean()) == (240, 0.5)
        assert set(fitted_on[:150]) == set(X[:, 0]) - set(asked_about)
        assert not set(fitted_on) & set(asked_about)
    for repeat in (asked[:4], asked[4:]):
        assert sorted(np.concatenate([each[1] for each in repeat])) == X[:, 0].tolist()
    assert set(asked[0][1]) != set(asked[4][1]), "each repeat has folds of its own"
    for each in (scores, again):
        assert each == pytest.approx(X[:, 0] / 1_000), "each row's score is its own"


def test_class_weights_and_smote_are_ways_of_resampling():
    def made(resampling):
        parameters = {"features": "lean", "n_estimators": 3, "resampling": resampling}
        pipeline = churn.forest(ELEVEN, parameters, seed=1).pipeline
        return "resample" in pipeline.named_steps, pipeline.named_steps["model"].class_weight

    assert made("none") == (False, None)
    assert made("class_weight") == (False, "balanced_subsample")
    assert made("smote") == (True, None)


def alone(dataset):
    return trained(dataset, dataclasses.replace(CONFIG, repeats={"small": 1}, variants=ALONE))


def trained(dataset, config=CONFIG):
    return churn.train(dataset, config, search="small", jobs=1, min_rows=80)


@pytest.fixture(scope="module")
def model():
    return trained(synthetic(400, seed=1))


def test_training_compares_every_candidate_and_keeps_one_forest_for_each_variant(model):
    assert [variant.name for variant in model.fitted] == ["usage", "eleven"]
    names = [row["candidate"] for row in model.variants[0].comparison]
    assert names[:6] == [
        f"{name}{smote}"
        for name in ("logistic regression", "random forest", "gradient boosting")
        for smote in ("", " + SMOTE")
    ]
    assert names[-1].startswith("tuned random forest")
    assert any(name.startswith("tuned random forest + SMOTE (features=") for name in names)
    for variant in model.variants:
        assert isinstance(variant.fitted.pipeline.named_steps["model"], RandomForestClassifier)
        assert variant.chosen["resampling"] in {"none", "class_weight", "smote"}
        assert variant.chosen["calibration"] in CALIBRATIONS
        assert len(variant.costs) == len(variant.comparison)


def test_the_forest_with_the_least_calibrated_log_loss_wins_and_brings_its_features(model):
    for config, variant in zip(CONFIG.variants, model.variants, strict=True):
        losses = {row["candidate"]: row["log_loss"] for row in variant.comparison}
        tuned = [loss for name, loss in losses.items() if name.startswith("tuned")]
        assert variant.comparison[-1]["log_loss"] == min(tuned)
        assert variant.fitted.numeric == config.features[variant.chosen["features"]]


def test_a_variant_is_compared_with_other_kinds_of_model_only_where_it_says_so():
    for variant in alone(synthetic(400, seed=1)).variants:
        assert all(row["candidate"].startswith("tuned random forest") for row in variant.comparison)


def test_every_figure_of_the_comparison_has_its_spread_over_the_repeats(model):
    for row in model.variants[0].comparison:
        assert set(row["spread"]) == {name for name, value in row.items() if isinstance(value, float)}
        assert max(row["spread"].values()) > 0


def test_the_same_data_gives_the_same_model():
    data = synthetic(400, seed=1)
    first, again = alone(data), alone(data)
    assert [each.comparison for each in again.variants] == [each.comparison for each in first.variants]
    for one, other in zip(first.fitted, again.fitted, strict=True):
        assert one.numbers == other.numbers
        assert np.array_equal(churn.probabilities(one, data.rows), churn.probabilities(other, data.rows))


def test_a_variant_is_left_out_where_too_few_rows_or_leavers_have_what_it_needs():
    data = synthetic(400, seed=1)
    few_rows = data.frame.copy()
    few_rows.loc[79:, [*MINUTES, *[name.replace("minutes", "charge") for name in MINUTES]]] = np.nan
    few_leavers = data.frame.copy()
    gone = few_leavers.index[few_leavers[CHURN]][7:]
    few_leavers.loc[gone, [*MINUTES, *[name.replace("minutes", "charge") for name in MINUTES]]] = np.nan
    for frame in (few_rows, few_leavers):
        assert [variant.name for variant in alone(Dataset(frame, "gaps")).fitted] == ["eleven"]


def test_the_fewest_leavers_that_data_may_have_can_be_learnt_from():
    # Ten of a hundred, of which a fifth is held out; with the committed number of folds.
    frame = synthetic(100, seed=1).frame.head(80)
    frame = frame.assign(churn=np.arange(80) < 8)
    folds = load_config(CONFIGS / "churn.toml").folds
    config = ModelConfig(seed=11, folds=folds, repeats={"small": 1}, variants=ALONE[1:])
    assert [variant.name for variant in trained(Dataset(frame, "few"), config).fitted] == ["eleven"]
