import dataclasses

import imblearn.pipeline
import joblib
import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from support.builders import REFERENCE, raw_columns, with_usage
from telelink_churn.definition import CHURN as CHURN_DEFINITION
from telelink_clv.definition import CLV
from telelink_shared import artifact
from telelink_shared.artifact import DIGEST, JOBLIB, MANIFEST
from telelink_shared.customer import COLUMNS, ELEVEN, MINUTES
from telelink_shared.features import encode, prepare
from telelink_shared.serving.model import load_model
from telelink_training import churn, clv, export
from telelink_training.config import CONFIGS, load_config
from telelink_training.data import CHURN, Dataset, known, lifetime_value_usd, normalise, synthetic
from telelink_training.export import (
    ExportError,
    FittedVariant,
    Release,
    golden_inputs,
    next_version,
    onnx_graph,
    parity,
    publish,
)

DATA = synthetic(300, seed=9)
LEFT = DATA.frame[CHURN].to_numpy(bool)
WORTH, _ = lifetime_value_usd(DATA, seed=9)
CALIBRATION = {
    "calibration_scores": (0.0, 1.0),
    "calibration_probabilities": (0.01, 0.9),
    "calibration_lower": (0.0, 0.8),
    "calibration_upper": (0.02, 1.0),
}
CHURN_CONFIG, CLV_CONFIG = load_config(CONFIGS / "churn.toml"), load_config(CONFIGS / "clv.toml")


def fitted(config, pipeline, target, numbers):
    """A variant of the committed configuration, fitted on DATA."""
    variant = FittedVariant(config.name, config.needs, config.features["broad"], config.categorical, pipeline, numbers)
    pipeline.fit(variant.matrix(DATA.rows), target)
    return variant


def a_forest(config, resampling="smote"):
    parameters = {"features": "broad", "n_estimators": 8, "resampling": resampling}
    return fitted(config, churn.forest(config, parameters, seed=1).pipeline, LEFT, CALIBRATION)


def a_line(config):
    pipeline = Pipeline(
        [("encode", churn.encoder(config.features["broad"], config.categorical)), ("model", LinearRegression())]
    )
    return fitted(config, pipeline, WORTH, {clv.HALF_WIDTH: (1_700.0,)})


FORESTS = tuple(a_forest(config) for config in CHURN_CONFIG.variants if config.compare)
LINES = tuple(a_line(config) for config in CLV_CONFIG.variants if config.compare)


def a_release(variants=FORESTS, **changes):
    golden = golden_inputs(DATA, variants, seed=1)
    rows = prepare(golden, n_rows=4)
    usage = known(rows, MINUTES)
    is_churn = variants[0].name == "usage" and hasattr(variants[0].pipeline, "predict_proba")
    name, model = ("churn", churn) if is_churn else ("clv", clv)
    with_usage, without = model.outputs(variants[0], with_all_usage(rows)), model.outputs(variants[1], rows)
    expected = {output: np.where(usage, with_usage[output], without[output]) for output in model.OUTPUTS}
    release = Release(
        model=name,
        variants=variants,
        graph=onnx_graph(variants),
        dataset=DATA,
        metrics={"reported_on": "nothing"},
        quantiles={model.OUTPUTS[0]: {"0.5": 1.0}},
        notes=["made up"],
        reference=REFERENCE,
        golden_inputs=golden,
        golden_outputs={
            output: [None if np.isnan(value) else value for value in values.tolist()]
            for output, values in expected.items()
        },
        tolerance=dict.fromkeys(expected, 1e-3),
        card="# A card\n",
    )
    return dataclasses.replace(release, **changes)


def with_all_usage(rows):
    """The rows with unknown minutes set to nought, for a pipeline that takes no gaps."""
    numbers = {name: np.nan_to_num(values) for name, values in rows.numbers.items()}
    return dataclasses.replace(rows, numbers=numbers)


@pytest.mark.parametrize("variant", [*FORESTS, *LINES], ids=lambda variant: type(variant.pipeline[-1]).__name__)
def test_what_a_service_encodes_is_bit_for_bit_what_the_fitted_pipeline_computes(variant):
    wanted = variant.pipeline.named_steps["encode"].transform(variant.matrix(DATA.rows))
    assert np.array_equal(encode(DATA.rows, variant.encoding), wanted)


@pytest.mark.parametrize(
    ("definition", "variants", "output", "tolerance"),
    [(CHURN_DEFINITION, FORESTS, "churn_probability", 1e-6), (CLV, LINES, "estimated_clv", 1e-6)],
    ids=["churn", "clv"],
)
def test_the_same_customer_gets_the_same_answer_from_training_and_from_the_service(
    definition, variants, output, tolerance, tmp_path
):
    customers = [
        with_usage(state="oh", areaCode=408, internationalPlan="YES", voiceMailPlan=False),
        with_usage(totalDayMinutes=None, totalDayCharge=30.6),
        with_usage(totalIntlMinutes=None),
    ]
    columns = raw_columns(customers) | {"total_day_charge": [None, 30.6, None]}
    publish(a_release(variants), tmp_path)
    served = load_model(definition, tmp_path).infer(columns, n_rows=3)
    # Training sees the same customers as a file in a public copy's spelling, among others.
    filed = DATA.frame.astype(object)
    for column in COLUMNS:
        if column in columns:
            filed.loc[[0, 1, 2], column] = columns[column]
    filed.loc[[0, 1, 2], "total_day_charge"] = columns["total_day_charge"]
    filed.loc[2, "total_intl_charge"] = None
    filed["voice_mail_plan"] = filed["voice_mail_plan"].map({"yes": " True.", "no": "False."})
    rows = normalise(filed, source="file").rows.take(np.arange(3))
    answer = churn.probabilities if output == "churn_probability" else clv.predictions
    usage, eleven = variants
    wanted = [*answer(usage, rows.take(np.array([0, 1]))), *answer(eleven, rows.take(np.array([2])))]
    assert served["variant"].tolist() == ["usage", "usage", "eleven"]
    assert served[output] == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize(("variants", "limit"), [(FORESTS, 1e-6), (LINES, 1e-8)], ids=["forests", "lines"])
def test_the_graph_answers_like_the_fitted_pipeline(variants, limit):
    differences = parity(onnx_graph(variants), variants, DATA.rows)
    assert list(differences) == ["usage", "eleven"]
    assert max(differences.values()) < limit


def test_parity_is_proved_on_the_rows_that_a_variant_can_answer():
    frame = DATA.frame.assign(total_day_charge=np.nan, total_eve_charge=np.nan)
    frame.loc[:99, "total_day_minutes"] = np.nan
    assert max(parity(onnx_graph(FORESTS), FORESTS, Dataset(frame, "gaps").rows).values()) < 1e-6


class OtherPipeline(imblearn.pipeline.Pipeline):
    """Answers a little otherwise than its trees, which are what the graph is made of."""

    def predict_proba(self, X):
        return super().predict_proba(X) * [1.0, 0.999]


def test_a_graph_that_answers_otherwise_is_never_written(tmp_path):
    other = dataclasses.replace(FORESTS[1], pipeline=OtherPipeline(FORESTS[1].pipeline.steps))
    with pytest.raises(ExportError, match=r"variant eleven: ONNX differs from the fitted pipeline by 1\.0e-03"):
        publish(a_release((FORESTS[0], other)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_estimator_that_cannot_be_exported_is_named_and_nothing_is_written(tmp_path):
    config = CLV_CONFIG.variants[-1]
    pipeline = Pipeline(
        [
            ("encode", churn.encoder(config.features["broad"], config.categorical)),
            ("model", GradientBoostingRegressor(n_estimators=2)),
        ]
    )
    with pytest.raises(ExportError, match="variant eleven: GradientBoostingRegressor cannot be exported"):
        publish(a_release((LINES[0], fitted(config, pipeline, WORTH, {clv.HALF_WIDTH: (1_700.0,)}))), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_version_says_what_it_is_made_of(tmp_path):
    folder = publish(a_release(), tmp_path)
    manifest = artifact.read_manifest(folder)
    assert (folder.parent.name, manifest.version) == ("churn", "1")
    assert {path.name for path in folder.iterdir()} == {*manifest.files, MANIFEST, DIGEST}
    assert manifest.data == {"source": DATA.source, "rows": 300, "fingerprint": DATA.fingerprint}
    assert manifest.input_schema_hash == artifact.input_schema_hash(ELEVEN)
    assert {"scikit-learn", "onnx", "onnxruntime", "imbalanced-learn"} <= set(manifest.libraries)
    assert set(manifest.metrics["onnx_parity"]) == {"usage", "eleven"}


def test_the_saved_pipelines_are_the_fitted_ones(tmp_path):
    folder = publish(a_release(), tmp_path)
    artifact.read_verified(folder, artifact.read_manifest(folder), JOBLIB)
    pipelines = joblib.load(folder / JOBLIB)
    for variant in FORESTS:
        again = dataclasses.replace(variant, pipeline=pipelines[variant.name])
        assert np.array_equal(again.scores(DATA.rows), variant.scores(DATA.rows))


def test_each_publishing_is_the_next_version(tmp_path):
    assert next_version(tmp_path, "churn") == "1"
    (tmp_path / "churn" / "9").mkdir(parents=True)
    (tmp_path / "churn" / "9" / MANIFEST).write_text("{}")
    assert next_version(tmp_path, "churn") == "10"
    assert publish(a_release(), tmp_path).name == "10"
    assert next_version(tmp_path, "churn") == "11"
    assert next_version(tmp_path, "clv") == "1"


def test_golden_rows_have_two_customers_for_each_variant_and_no_more_usage_than_it_needs():
    parts = [dataclasses.replace(FORESTS[0], needs=MINUTES[:1]), dataclasses.replace(FORESTS[0], needs=MINUTES[1:3])]
    golden = golden_inputs(DATA, [FORESTS[0], *parts, FORESTS[1]], seed=1)
    rows = prepare(golden, n_rows=8)
    known_minutes = np.array([~np.isnan(rows.numbers[column]) for column in MINUTES]).T.astype(int).tolist()
    assert known_minutes == [[1, 1, 1, 1]] * 2 + [[1, 0, 0, 0]] * 2 + [[0, 1, 1, 0]] * 2 + [[0, 0, 0, 0]] * 2
    assert golden["total_day_charge"][2] is not None
    assert golden["total_eve_charge"][2] is None


def test_golden_rows_have_usage_where_only_some_customers_do():
    frame = DATA.frame.copy()
    frame.loc[8:, [name for name in COLUMNS if name not in ELEVEN]] = np.nan
    rows = prepare(golden_inputs(Dataset(frame, "gaps"), FORESTS, seed=1), n_rows=4)
    assert known(rows, MINUTES).tolist() == [True, True, False, False]


def test_a_training_that_was_done_a_moment_earlier_costs_the_other_one_nothing_but_its_number(tmp_path, monkeypatch):
    first = publish(a_release(), tmp_path)
    numbers = iter(["1", "2"])
    monkeypatch.setattr(export, "next_version", lambda *_: next(numbers))
    second = publish(a_release(), tmp_path)
    assert (first.name, second.name) == ("1", "2")
    assert artifact.read_manifest(second).version == "2"


def test_a_folder_that_is_called_like_a_version_keeps_its_number(tmp_path):
    (tmp_path / "churn" / "7").mkdir(parents=True)
    assert publish(a_release(), tmp_path).name == "8"
