"""The scikit-learn runtime unpickles only what the manifest names, and the other one unpickles nothing."""

import io
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from imblearn.pipeline import Pipeline
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from support.builders import TOY_DEFINITION, a_customer, raw_columns, toy_graph, toy_manifest
from telelink_shared import artifact
from telelink_shared.artifact import ArtifactError
from telelink_shared.serving.model import load_model


class Touch:
    """A pickle whose loading leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def dumped(content):
    file = io.BytesIO()
    joblib.dump(content, file)
    return file.getvalue()


def write(models, pipelines, **changes):
    """A toy version with these bytes as its model.joblib."""
    files = {artifact.ONNX: toy_graph(), artifact.JOBLIB: pipelines}
    entries = {name: artifact.file_entry(content) for name, content in files.items()}
    return artifact.write_version(models, toy_manifest(toy_graph(), **{"files": entries} | changes), files)


def a_pipeline(slope=0.1):
    """What the toy's graph computes; its own encoding is not used, since the toolkit has encoded already."""
    calls = np.arange(10.0).reshape(-1, 1)
    scaler = StandardScaler().fit(calls)
    return Pipeline([("encode", scaler), ("model", LinearRegression().fit(calls, slope * calls[:, 0]))])


def test_the_last_step_of_the_pipeline_answers(tmp_path):
    write(tmp_path, dumped({"only": a_pipeline()}))
    model = load_model(TOY_DEFINITION, tmp_path, runtime="sklearn")
    assert model.engine.platform == "sklearn_joblib"
    outputs = model.infer(raw_columns([a_customer(customerServiceCalls=3)]), n_rows=1)
    assert outputs["share"].tolist() == pytest.approx([0.3])


def test_golden_rows_are_checked_here_too(tmp_path):
    write(tmp_path, dumped({"only": a_pipeline(slope=0.11)}))
    with pytest.raises(ArtifactError, match="golden rows: share differs"):
        load_model(TOY_DEFINITION, tmp_path, runtime="sklearn")


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", dumped({"other": a_pipeline()}), dumped({"only": 1}), dumped([])]
)
def test_something_else_than_a_pipeline_for_each_variant_is_found(tmp_path, content):
    write(tmp_path, content)
    with pytest.raises(ArtifactError, match=r"model\.joblib: cannot be used"):
        load_model(TOY_DEFINITION, tmp_path, runtime="sklearn")


def test_the_code_in_a_pickle_that_the_manifest_names_does_run(tmp_path):
    # What the next test finds not to happen does happen where nothing stops it.
    mark = tmp_path / "mark"
    write(tmp_path / "models", dumped(Touch(mark)))
    with pytest.raises(ArtifactError, match="cannot be used"):
        load_model(TOY_DEFINITION, tmp_path / "models", runtime="sklearn")
    assert mark.exists()


def test_a_pickle_that_the_manifest_does_not_name_is_never_unpickled(tmp_path):
    mark = tmp_path / "mark"
    folder = write(tmp_path / "models", dumped({"only": a_pipeline()}))
    (folder / artifact.JOBLIB).write_bytes(dumped(Touch(mark)))
    with pytest.raises(ArtifactError, match="content differs from the hash"):
        load_model(TOY_DEFINITION, tmp_path / "models", runtime="sklearn")
    (folder / artifact.JOBLIB).unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_model(TOY_DEFINITION, tmp_path / "models", runtime="sklearn")
    assert not mark.exists()


def test_a_manifest_without_the_pickle_is_refused(tmp_path):
    mark = tmp_path / "mark"
    graph = {artifact.ONNX: artifact.file_entry(toy_graph())}
    folder = artifact.write_version(
        tmp_path / "models", toy_manifest(toy_graph(), files=graph), {artifact.ONNX: toy_graph()}
    )
    (folder / artifact.JOBLIB).write_bytes(dumped(Touch(mark)))
    with pytest.raises(ArtifactError, match="does not name this file"):
        load_model(TOY_DEFINITION, tmp_path / "models", runtime="sklearn")
    assert not mark.exists()


def test_the_onnx_runtime_unpickles_nothing_even_if_the_manifest_names_it(tmp_path):
    mark = tmp_path / "mark"
    write(tmp_path / "models", dumped(Touch(mark)))
    assert load_model(TOY_DEFINITION, tmp_path / "models").version == "1"
    assert not mark.exists()


def test_where_scikit_learn_is_not_installed_the_reason_says_so(tmp_path, monkeypatch):
    write(tmp_path, dumped({"only": a_pipeline()}))
    monkeypatch.delitem(sys.modules, "telelink_shared.serving.sklearn_engine", raising=False)
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ArtifactError, match="needs scikit-learn, which is not installed"):
        load_model(TOY_DEFINITION, tmp_path, runtime="sklearn")
