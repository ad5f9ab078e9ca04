"""What a model service proves before it is ready."""

import numpy as np
import pytest

from support.builders import TOY, a_customer, raw_columns, toy_graph, toy_manifest, write_toy
from telelink_shared import artifact
from telelink_shared.artifact import ArtifactError, Encoding, Variant
from telelink_shared.customer import ELEVEN, USAGE
from telelink_shared.problem import InvalidOutput
from telelink_shared.serving.definition import ModelDefinition, Output
from telelink_shared.serving.model import MissingColumn, load_model

DEFINITION = ModelDefinition(
    name=TOY,
    title="toy",
    required=ELEVEN,
    optional=USAGE,
    outputs=(Output("share", unit="probability", lower=0.0, upper=1.0),),
    finish=lambda scores, _rows, _variant: {"share": scores},
)
ENCODING = Encoding(numeric=("customer_service_calls",), mean=(0.0,), scale=(1.0,))


def test_a_whole_version_is_loaded_and_answers(tmp_path):
    write_toy(tmp_path)
    model = load_model(DEFINITION, tmp_path)
    outputs = model.infer(raw_columns([a_customer(customerServiceCalls=3)]), n_rows=1)
    assert outputs["share"].tolist() == pytest.approx([0.3])


def test_other_golden_answers_are_found(tmp_path):
    golden = toy_manifest(toy_graph()).golden
    write_toy(tmp_path, golden=golden.model_copy(update={"outputs": {"share": [0.1, 0.41]}}))
    with pytest.raises(ArtifactError, match="golden rows: share differs"):
        load_model(DEFINITION, tmp_path)


def test_another_input_schema_is_found(tmp_path):
    write_toy(tmp_path, input_schema_hash="0" * 64)
    with pytest.raises(ArtifactError, match="another input schema"):
        load_model(DEFINITION, tmp_path)


def test_a_graph_without_a_variants_input_is_found(tmp_path):
    write_toy(tmp_path, variants=(Variant(name="other", needs=(), encoding=ENCODING),))
    with pytest.raises(ArtifactError, match="no input for other"):
        load_model(DEFINITION, tmp_path)


def test_a_version_that_some_rows_fall_through_is_found(tmp_path):
    write_toy(tmp_path, variants=(Variant(name="only", needs=("total_day_minutes",), encoding=ENCODING),))
    with pytest.raises(ArtifactError, match="last variant"):
        load_model(DEFINITION, tmp_path)


def test_something_that_is_no_graph_is_found(tmp_path):
    content = b"not a graph"
    manifest = toy_manifest(content)
    artifact.write_version(tmp_path, manifest, {artifact.ONNX: content})
    with pytest.raises(ArtifactError, match="onnxruntime cannot load it"):
        load_model(DEFINITION, tmp_path)


def test_an_answer_outside_its_range_is_never_given(tmp_path):
    write_toy(tmp_path)
    model = load_model(DEFINITION, tmp_path)
    with pytest.raises(InvalidOutput):
        model.infer(raw_columns([a_customer(customerServiceCalls=11)]), n_rows=1)


def test_a_missing_required_value_is_named(tmp_path):
    write_toy(tmp_path)
    model = load_model(DEFINITION, tmp_path)
    columns = raw_columns([a_customer()])
    with pytest.raises(MissingColumn, match="account_length"):
        model.infer({**columns, "account_length": [np.nan]}, n_rows=1)
    del columns["state"]
    with pytest.raises(MissingColumn, match="state"):
        model.infer(columns, n_rows=1)
