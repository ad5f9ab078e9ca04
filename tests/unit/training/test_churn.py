import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier

from telelink_shared.calibration import PROBABILITIES, SCORES, calibrate
from telelink_shared.customer import MINUTES
from telelink_training import churn
from telelink_training.config import CONFIGS, ModelConfig, VariantConfig, load_config
from telelink_training.data import CHURN, Dataset, synthetic

ELEVEN = VariantConfig(
    name="eleven",
    needs=(),
    numeric=("account_length", "customer_service_calls"),
    categorical=("international_plan",),
    search={"small": {"n_estimators": [5], "min_samples_leaf": [5], "resampling": ["none", "class_weight", "smote"]}},
)
USAGE = VariantConfig(
    name="usage",
    needs=MINUTES,
    numeric=("bill_usd", "customer_service_calls"),
    categorical=("voice_mail_plan",),
    search=ELEVEN.search,
)
CONFIG = ModelConfig(seed=11, folds=2, variants=(USAGE, ELEVEN))


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
    pipeline = churn.forest_pipeline(ELEVEN, {"resampling": "smote"}, seed=1)
    pipeline.set_params(encode="passthrough", model=Witness(seen))
    X = np.arange(200.0).reshape(-1, 1)
    y = np.arange(200) % 5 == 0
    (scores,) = churn.out_of_fold([pipeline], X, y, folds=4, seed=3, jobs=1, label="test")
    fits = [each for each in seen if each[0] == "fit"]
    asked = [each for each in seen if each[0] == "ask"]
    assert len(fits) == len(asked) == 4
    for (_, fitted_on, outcomes), (_, asked_about, _) in zip(fits, asked, strict=True):
        # 120 of the fold's 150 customers stay: as many leavers are made of the other 30, and nothing of anyone else.
        assert (len(fitted_on), outcomes.mean()) == (240, 0.5)
        assert set(fitted_on[:150]) == set(X[:, 0]) - set(asked_about)
        assert not set(fitted_on) & set(asked_about)
    assert sorted(np.concatenate([each[1] for each in asked])) == X[:, 0].tolist()
    assert scores == pytest.approx(X[:, 0] / 1_000), "each row's score is its own"


def test_class_weights_and_smote_are_ways_of_resampling():
    def made(resampling):
        pipeline = churn.forest_pipeline(ELEVEN, {"n_estimators": 3, "resampling": resampling}, seed=1)
        return "resample" in pipeline.named_steps, pipeline.named_steps["model"].class_weight

    assert made("none") == (False, None)
    assert made("class_weight") == (False, "balanced_subsample")
    assert made("smote") == (True, None)


@pytest.mark.parametrize("by", sorted(churn.CALIBRATIONS))
def test_a_calibration_never_falls_stays_within_bounds_and_finds_the_observed_shares(by):
    rng = np.random.default_rng(1)
    votes = rng.beta(0.5, 2.0, 5_000)
    truth = votes**2
    y = rng.random(5_000) < truth
    table = churn.CALIBRATIONS[by](votes, y)
    assert (np.diff(table[SCORES]) >= 0).all()
    assert (np.diff(table[PROBABILITIES]) >= 0).all()
    assert 0 < min(table[PROBABILITIES]) <= max(table[PROBABILITIES]) < 1
    assert np.abs(calibrate(votes, table) - truth).mean() < 0.03


@pytest.mark.parametrize("by", sorted(churn.CALIBRATIONS))
def test_a_calibration_of_votes_that_mislead_is_flat_and_never_falls(by):
    votes = np.tile(np.linspace(0, 1, 100), 10)
    table = churn.CALIBRATIONS[by](votes, votes < 0.3)
    assert (np.diff(table[PROBABILITIES]) >= 0).all()
    assert np.ptp(table[PROBABILITIES]) < 0.02


def test_a_row_is_calibrated_by_a_table_that_was_fitted_without_it():
    y = np.arange(300) % 3 == 0
    votes = np.arange(300) / 300
    before = churn.cross_calibrated(votes, y, by="isotonic", folds=5, seed=1)
    own = [calibrate(votes, churn.CALIBRATIONS["isotonic"](votes, y))]
    assert not np.array_equal(before, own[0])
    # Votes that name each row: a table that had seen it would know its outcome.
    assert np.corrcoef(before, y)[0, 1] < 0.1


def trained(dataset, config=CONFIG):
    return churn.train(dataset, config, search="small", jobs=1, min_rows=80)


@pytest.fixture(scope="module")
def model():
    return trained(synthetic(400, seed=1))


def test_training_compares_every_candidate_and_keeps_one_forest_for_each_variant(model):
    assert [variant.name for variant in model.variants] == ["usage", "eleven"]
    names = [row["candidate"] for row in model.comparison if row["variant"] == "usage"]
    assert names[:6] == [
        f"{name}{smote}"
        for name in ("logistic regression", "random forest", "gradient boosting")
        for smote in ("", " + SMOTE")
    ]
    assert names[6].startswith("tuned random forest (n_estimators=5")
    for variant in model.variants:
        assert isinstance(variant.pipeline.named_steps["model"], RandomForestClassifier)
        assert model.chosen[variant.name]["resampling"] in {"none", "class_weight", "smote"}
        assert model.chosen[variant.name]["calibration"] in churn.CALIBRATIONS


def test_the_same_data_gives_the_same_model(model):
    data = synthetic(400, seed=1)
    again = trained(data)
    assert again.comparison == model.comparison
    for one, other in zip(model.variants, again.variants, strict=True):
        assert np.array_equal(churn.probabilities(one, data.rows), churn.probabilities(other, data.rows))


def test_a_variant_is_left_out_where_too_few_rows_or_leavers_have_what_it_needs():
    data = synthetic(400, seed=1)
    few_rows = data.frame.copy()
    few_rows.loc[79:, [*MINUTES, *[name.replace("minutes", "charge") for name in MINUTES]]] = np.nan
    few_leavers = data.frame.copy()
    gone = few_leavers.index[few_leavers[CHURN]][7:]
    few_leavers.loc[gone, [*MINUTES, *[name.replace("minutes", "charge") for name in MINUTES]]] = np.nan
    for frame in (few_rows, few_leavers):
        assert [variant.name for variant in trained(Dataset(frame, "gaps")).variants] == ["eleven"]


def test_the_fewest_leavers_that_data_may_have_can_be_learnt_from():
    # Ten of a hundred, of which a fifth is held out; with the committed number of folds.
    frame = synthetic(100, seed=1).frame.head(80)
    frame = frame.assign(churn=np.arange(80) < 8)
    folds = load_config(CONFIGS / "churn.toml").folds
    config = ModelConfig(seed=11, folds=folds, variants=(ELEVEN,))
    assert [variant.name for variant in trained(Dataset(frame, "few"), config).variants] == ["eleven"]
