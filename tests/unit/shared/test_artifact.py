import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.builders import TOY, toy_graph, toy_manifest, write_toy
from telelink_shared import artifact
from telelink_shared.artifact import ArtifactError


def test_versions_are_ordered_as_numbers_and_the_newest_is_served(tmp_path):
    for version in ("2", "10", "1"):
        write_toy(tmp_path, version=version)
    (tmp_path / TOY / "notes").mkdir()
    assert artifact.versions(tmp_path, TOY) == ["1", "2", "10"]
    assert artifact.served_version(tmp_path, TOY) == "10"


def test_the_version_that_was_chosen_is_served_whatever_is_newer(tmp_path):
    for version in ("1", "2", "3"):
        write_toy(tmp_path, version=version)
    artifact.set_served_version(tmp_path, TOY, "2")
    assert (tmp_path / TOY / artifact.SERVED).read_text() == "2\n"
    assert artifact.served_version(tmp_path, TOY) == "2"
    artifact.set_served_version(tmp_path, TOY, "1")
    assert artifact.served_version(tmp_path, TOY) == "1"
    assert {path.name for path in (tmp_path / TOY).iterdir()} == {"1", "2", "3", artifact.SERVED}


def test_a_version_that_is_not_there_cannot_be_chosen(tmp_path):
    write_toy(tmp_path)
    for version in ("2", "", "../toy/1"):
        with pytest.raises(ArtifactError, match="has no version"):
            artifact.set_served_version(tmp_path, TOY, version)
    assert artifact.served_version(tmp_path, TOY) == "1"


def test_a_choice_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    write_toy(tmp_path)
    artifact.set_served_version(tmp_path, TOY, "1")
    write_toy(tmp_path, version="2")

    def full(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        artifact.set_served_version(tmp_path, TOY, "2")
    assert artifact.served_version(tmp_path, TOY) == "1"
    assert {path.name for path in (tmp_path / TOY).iterdir()} == {"1", "2", artifact.SERVED}


@pytest.mark.parametrize("content", [b"7\n", b"", b"../1", b"\xff"])
def test_a_choice_that_makes_no_sense_is_named(tmp_path, content):
    write_toy(tmp_path)
    (tmp_path / TOY / artifact.SERVED).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"served: (names a version that is not there|cannot be read)"):
        artifact.served_version(tmp_path, TOY)


def test_no_version_at_all_is_one_clear_line(tmp_path):
    with pytest.raises(ArtifactError, match="no version of model 'toy'"):
        artifact.served_version(tmp_path, TOY)


def test_what_was_written_is_read_back_equal(tmp_path):
    folder = write_toy(tmp_path)
    manifest = artifact.read_manifest(folder)
    assert manifest == toy_manifest(toy_graph())
    assert artifact.read_verified(folder, manifest, artifact.ONNX) == toy_graph()


def test_a_version_is_never_overwritten(tmp_path):
    write_toy(tmp_path)
    with pytest.raises(ArtifactError, match="this version exists"):
        write_toy(tmp_path)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="disk full"):
        write_toy(tmp_path)
    assert list((tmp_path / TOY).iterdir()) == []


def test_one_flipped_byte_is_found(tmp_path):
    folder = write_toy(tmp_path)
    content = bytearray((folder / artifact.ONNX).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / artifact.ONNX).write_bytes(content)
    with pytest.raises(ArtifactError, match="content differs from the hash"):
        artifact.read_verified(folder, artifact.read_manifest(folder), artifact.ONNX)


@given(st.data())
def test_no_flipped_bit_of_the_manifest_or_its_digest_is_overlooked(tmp_path_factory, data):
    folder = write_toy(tmp_path_factory.mktemp("models"))
    path = folder / data.draw(st.sampled_from([artifact.MANIFEST, artifact.DIGEST]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"content differs from its digest .*: put the version there again"):
        artifact.read_manifest(folder)


@pytest.mark.parametrize(
    "change", [lambda digest: digest[:40], lambda _: b"", lambda digest: digest.replace(b"\n", b"")]
)
def test_a_digest_that_was_cut_off_is_refused(tmp_path, change):
    path = write_toy(tmp_path) / artifact.DIGEST
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ArtifactError, match="put the version there again"):
        artifact.read_manifest(path.parent)


def test_a_manifest_without_a_digest_says_how_to_add_one_and_that_helps(tmp_path):
    folder = write_toy(tmp_path)
    (folder / artifact.DIGEST).unlink()
    with pytest.raises(ArtifactError) as told:
        artifact.read_manifest(folder)
    subprocess.run(str(told.value).rpartition("in its folder: ")[2], shell=True, cwd=folder, check=True)
    assert artifact.read_manifest(folder) == toy_manifest(toy_graph())


@pytest.mark.parametrize("file", [artifact.MANIFEST, artifact.DIGEST, artifact.ONNX])
@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, file, put):
    folder = write_toy(tmp_path)
    manifest = artifact.read_manifest(folder)
    (folder / file).unlink()
    put(folder / file)
    with pytest.raises(ArtifactError, match="not a regular file"):
        artifact.read_verified(folder, manifest if file == artifact.ONNX else artifact.read_manifest(folder), file)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', "null"])
def test_a_broken_manifest_is_named(tmp_path, content):
    folder = write_toy(tmp_path)
    artifact.write_manifest(folder, content)
    with pytest.raises(ArtifactError, match="not a manifest of this format"):
        artifact.read_manifest(folder)


def test_a_manifest_of_another_format_says_so(tmp_path):
    folder = write_toy(tmp_path)
    artifact.write_manifest(folder, '{"format": 1}')
    with pytest.raises(ArtifactError, match="format 1, this program reads 2"):
        artifact.read_manifest(folder)


@pytest.mark.parametrize("levels", [{"0.9": 10.0, "0.75": 20.0}, {"0.75": float("inf")}, {"high": 1.0}])
def test_a_limit_of_value_that_cannot_be_is_refused(tmp_path, levels):
    folder = write_toy(tmp_path)
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    manifest["quantiles"] = {"estimated_clv": levels}
    artifact.write_manifest(folder, json.dumps(manifest))
    with pytest.raises(ArtifactError, match="quantiles"):
        artifact.read_manifest(folder)


def test_a_reference_customer_has_every_column(tmp_path):
    folder = write_toy(tmp_path)
    manifest = json.loads((folder / artifact.MANIFEST).read_text())
    del manifest["reference"]["total_day_minutes"]
    artifact.write_manifest(folder, json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"reference: .*must have .*total_day_minutes"):
        artifact.read_manifest(folder)


def test_a_folder_under_another_name_is_refused(tmp_path):
    folder = write_toy(tmp_path)
    with pytest.raises(ArtifactError, match="not about its own folder"):
        artifact.read_manifest(folder.rename(folder.with_name("7")))


def test_the_schema_hash_changes_with_what_must_be_sent():
    assert artifact.input_schema_hash(("state",)) != artifact.input_schema_hash(("area_code",))
