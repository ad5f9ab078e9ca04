import pytest

from support.builders import TOY, toy_graph, toy_manifest, write_toy
from telelink_shared import artifact
from telelink_shared.artifact import ArtifactError


def test_versions_are_ordered_as_numbers_and_the_newest_is_served(tmp_path):
    for version in ("2", "10", "1"):
        write_toy(tmp_path, version=version)
    (tmp_path / TOY / "notes").mkdir()
    assert artifact.versions(tmp_path, TOY) == ["1", "2", "10"]
    assert artifact.served_version(tmp_path, TOY) == "10"


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


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "null"])
def test_a_broken_manifest_is_named(tmp_path, content):
    folder = write_toy(tmp_path)
    (folder / artifact.MANIFEST).write_text(content)
    with pytest.raises(ArtifactError, match="not a manifest of this format"):
        artifact.read_manifest(folder)


def test_a_folder_under_another_name_is_refused(tmp_path):
    folder = write_toy(tmp_path)
    with pytest.raises(ArtifactError, match="not about its own folder"):
        artifact.read_manifest(folder.rename(folder.with_name("7")))


def test_the_schema_hash_changes_with_what_must_be_sent():
    assert artifact.input_schema_hash(("state",)) != artifact.input_schema_hash(("area_code",))
