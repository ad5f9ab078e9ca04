"""What a model service proves before it is ready."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import REFERENCE, TOY_DEFINITION, a_customer, raw_columns, toy_graph, toy_manifest, write_toy
from telelink_shared import artifact
from telelink_shared.artifact import ArtifactError, Encoding, Variant
from telelink_shared.serving.model import MissingColumn, load_model

ENCODING = Encoding(numeric=("customer_service_calls",), mean=(0.0,), scale=(1.0,))


def test_a_whole_version_is_loaded_and_answers(tmp_path):
    write_toy(tmp_path)
    model = load_model(TOY_DEFINITION, tmp_path)
    outputs = model.infer(raw_columns([a_customer(customerServiceCalls=3)]), n_rows=1)
    assert outputs["share"].tolist() == pytest.approx([0.3])


@given(st.data())
def test_no_flipped_bit_of_anything_that_is_served_is_overlooked(tmp_path_factory, data):
    models = tmp_path_factory.mktemp("models")
    path = write_toy(models) / data.draw(st.sampled_from([artifact.MANIFEST, artifact.DIGEST, artifact.ONNX]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="content differs from"):
        load_model(TOY_DEFINITION, models)


def test_other_golden_answers_are_found(tmp_path):
    golden = toy_manifest(toy_graph()).golden
    write_toy(tmp_path, golden=golden.model_copy(update={"outputs": {"share": [0.1, 0.41]}}))
    with pytest.raises(ArtifactError, match="golden rows: share differs"):
        load_model(TOY_DEFINITION, tmp_path)


@pytest.mark.parametrize(
    "changes", [{"tolerance": {}}, {"outputs": {"share": [0.1, 0.4, 0.4]}}, {"outputs": {"other": [0.1, 0.4]}}]
)
def test_golden_rows_that_make_no_sense_are_found(tmp_path, changes):
    folder = write_toy(tmp_path)
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    manifest["golden"] |= changes
    artifact.write_manifest(folder, json.dumps(manifest))
    with pytest.raises(ArtifactError, match="golden"):
        load_model(TOY_DEFINITION, tmp_path)


def test_another_input_schema_is_found(tmp_path):
    write_toy(tmp_path, input_schema_hash="0" * 64)
    with pytest.raises(ArtifactError, match="another input schema"):
        load_model(TOY_DEFINITION, tmp_path)


def test_a_graph_without_a_variants_input_is_found(tmp_path):
    write_toy(tmp_path, variants=(Variant(name="other", needs=(), encoding=ENCODING),))
    with pytest.raises(ArtifactError, match="no input for other"):
        load_model(TOY_DEFINITION, tmp_path)


def test_a_version_that_some_rows_fall_through_is_found(tmp_path):
    write_toy(tmp_path, variants=(Variant(name="only", needs=("total_day_minutes",), encoding=ENCODING),))
    with pytest.raises(ArtifactError, match="last variant"):
        load_model(TOY_DEFINITION, tmp_path)


def test_something_that_is_no_graph_is_found(tmp_path):
    content = b"not a graph"
    manifest = toy_manifest(content)
    artifact.write_version(tmp_path, manifest, {artifact.ONNX: content})
    with pytest.raises(ArtifactError, match="onnxruntime cannot load it"):
        load_model(TOY_DEFINITION, tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("state", "XX", "two-letter code"),
        ("account_length", "long", "must be numbers"),
        ("total_day_minutes", "long", "TypeError"),
        ("customer_service_calls", 11.0, "an invalid answer"),
    ],
)
def test_a_reference_customer_that_cannot_be_answered_is_found(tmp_path, column, value, reason):
    write_toy(tmp_path, reference=REFERENCE | {column: value})
    with pytest.raises(ArtifactError, match=f"self-test: .*{reason}"):
        load_model(TOY_DEFINITION, tmp_path)


def test_a_matrix_that_does_not_fit_the_graph_is_found(tmp_path):
    two = Encoding(numeric=("customer_service_calls", "account_length"), mean=(0.0, 0.0), scale=(1.0, 1.0))
    write_toy(tmp_path, variants=(Variant(name="only", needs=(), encoding=two),))
    with pytest.raises(ArtifactError, match="self-test"):
        load_model(TOY_DEFINITION, tmp_path)


def test_numbers_that_the_finish_function_lacks_are_found(tmp_path):
    def finish(scores, _rows, numbers):
        return {"share": scores + numbers["offset"]}

    write_toy(tmp_path)
    with pytest.raises(ArtifactError, match="self-test: KeyError: 'offset'"):
        load_model(dataclasses.replace(TOY_DEFINITION, finish=finish), tmp_path)


def test_the_version_that_is_asked_for_is_loaded(tmp_path):
    for version in ("1", "2"):
        write_toy(tmp_path, version=version)
    assert load_model(TOY_DEFINITION, tmp_path).version == "2"
    assert load_model(TOY_DEFINITION, tmp_path, version="1").version == "1"


def test_an_answer_outside_its_range_is_never_given_and_harms_no_other_row(tmp_path):
    write_toy(tmp_path)
    model = load_model(TOY_DEFINITION, tmp_path)
    customers = [a_customer(customerServiceCalls=n_calls) for n_calls in (3, 11, 4)]
    first, out_of_range, last = model.infer(raw_columns(customers), n_rows=3)["share"]
    assert (first, last) == (pytest.approx(0.3), pytest.approx(0.4))
    assert np.isnan(out_of_range)


def test_a_missing_required_value_is_named(tmp_path):
    write_toy(tmp_path)
    model = load_model(TOY_DEFINITION, tmp_path)
    columns = raw_columns([a_customer()])
    with pytest.raises(MissingColumn, match="account_length"):
        model.infer({**columns, "account_length": [np.nan]}, n_rows=1)
    del columns["state"]
    with pytest.raises(MissingColumn, match="state"):
        model.infer(columns, n_rows=1)
