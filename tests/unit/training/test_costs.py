import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline

from telelink_training.churn import encoder
from telelink_training.costs import onnx_costs

X = np.random.default_rng(1).normal(size=(120, 3))
X[:, 2] = X[:, 2] > 0
MODELS = (
    LogisticRegression(),
    RandomForestClassifier(n_estimators=5),
    GradientBoostingClassifier(n_estimators=5),
    LinearRegression(),
    GradientBoostingRegressor(n_estimators=5),
)


def costs(model):
    pipeline = Pipeline([("encode", encoder(("a", "b"), ("voice_mail_plan",))), ("model", model)])
    return onnx_costs(pipeline.fit(X, X[:, 0] > 0), X)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_every_candidate_has_a_size_and_a_time_for_one_row(model):
    cost = costs(model)
    assert cost["onnx_kb"] > 0.1
    assert cost["us_per_row"] > 0


def test_more_trees_are_a_larger_graph():
    sizes = [costs(RandomForestClassifier(n_estimators=n, random_state=1))["onnx_kb"] for n in (5, 50)]
    assert sizes[1] > 5 * sizes[0]
