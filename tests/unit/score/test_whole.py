"""Results appear whole or not at all, whoever else is at work beside them."""

import pytest

from telelink_score.whole import whole_file


def names(folder):
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("other", ["a.csv.b.csv", "a.csv.0123abcd", "a.csv"])
def test_another_result_under_way_is_left_alone(other, tmp_path):
    with whole_file(tmp_path / other) as second:
        second.write(b"second")
        with whole_file(tmp_path / "a.csv") as first:
            first.write(b"first")
        assert (tmp_path / "a.csv").read_bytes() == b"first"
    assert (tmp_path / other).read_bytes() == b"second"
    assert names(tmp_path) == sorted({"a.csv", other})


def test_what_was_left_by_who_was_killed_is_cleared_away_and_nothing_else(tmp_path):
    for name in (".a.csv.01234567.unfinished", ".a.csv.b.csv.01234567.unfinished", ".a_csv.01234567.unfinished"):
        (tmp_path / name).touch()
    with whole_file(tmp_path / "a.csv"):
        pass
    assert names(tmp_path) == [".a.csv.b.csv.01234567.unfinished", ".a_csv.01234567.unfinished", "a.csv"]


def fails_half_way(path):
    with whole_file(path) as file:
        file.write(b"half")
        raise OSError("full")


def test_what_fails_leaves_the_one_of_before(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"of before")
    with pytest.raises(OSError, match="full"):
        fails_half_way(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == b"of before"
    assert names(tmp_path) == ["a.csv"]
