import shutil

import numpy as np
import pytest

from support.builders import write_toy
from support.small_models import CALIBRATION, small_churn, small_clv
from telelink_shared import artifact
from telelink_shared.artifact import ONNX, SERVED, ArtifactError
from telelink_shared.customer import CHARGES, USAGE
from telelink_training.data import Dataset, rows_of, synthetic
from telelink_training.published import BEFORE, promote, read_published, rollback

DATA = synthetic(200, seed=5)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three versions of a churn model and one of a value model."""
    folder = tmp_path_factory.mktemp("models")
    for seed in range(3):
        small_churn(DATA, folder, trees=3, seed=seed)
    small_clv(DATA, folder)
    return folder


@pytest.fixture
def models(three, tmp_path):
    """The same, to be changed."""
    return shutil.copytree(three, tmp_path / "models")


def with_gaps():
    """Usage for the first half alone."""
    frame = DATA.frame.copy()
    frame.loc[100:, list(USAGE)] = np.nan
    return rows_of(frame)


def served(models):
    return artifact.served_version(models, "churn")


def test_a_customer_is_answered_by_the_first_variant_whose_needs_are_known(three):
    model = read_published(three, "churn", "1")
    usage, eleven = model.manifest.variants
    answers = model.answers(with_gaps())
    assert answers.variants.tolist() == ["usage"] * 100 + ["eleven"] * 100
    complete = rows_of(DATA.frame)
    first, last = np.arange(100), np.arange(100, 200)
    assert answers.values[first] == pytest.approx(model.score(usage, complete.take(first)))
    assert answers.values[last] == pytest.approx(model.score(eleven, complete.take(last)))
    assert answers.values.min() >= CALIBRATION["calibration_probabilities"][0]
    assert np.isnan(answers.half_widths_usd).all()


def test_a_value_comes_with_the_width_of_its_interval(three):
    answers = read_published(three, "clv", "1").answers(with_gaps())
    assert set(answers.half_widths_usd) == {1_650.0}
    assert answers.values.min() >= 0


def test_a_version_that_is_not_there_is_named_with_those_that_are(three):
    with pytest.raises(ArtifactError, match=r"model 'churn' has no version 9 in .*; there is 1, 2, 3"):
        read_published(three, "churn", "9")
    with pytest.raises(ArtifactError, match=r"model 'churn' has no version \.\. in"):
        read_published(three, "churn", "..")


def test_a_promotion_is_what_services_serve_and_a_rollback_takes_it_back(models):
    assert served(models) == "3", "without a promotion, the newest"
    assert promote(models, "churn", "1") == "3"
    assert served(models) == "1"
    assert rollback(models, "churn") == ("3", "1")
    assert served(models) == "3"
    assert rollback(models, "churn") == ("1", "3"), "a second rollback undoes the first"


def test_a_rollback_goes_to_the_version_before_whatever_its_number(models):
    promote(models, "churn", "1")
    promote(models, "churn", "3")
    assert rollback(models, "churn") == ("1", "3")


def test_promoting_the_served_version_again_forgets_nothing(models):
    promote(models, "churn", "2")
    promote(models, "churn", "2")
    assert rollback(models, "churn") == ("3", "2")


def test_without_a_promotion_there_is_nothing_to_take_back(models):
    with pytest.raises(ArtifactError, match="model 'churn' has no promotion to take back"):
        rollback(models, "churn")
    assert not (models / "churn" / SERVED).exists()


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"other"), lambda path: path.unlink()])
def test_a_version_that_is_not_whole_is_never_promoted(spoil, models):
    promote(models, "churn", "1")
    spoil(models / "churn" / "2" / ONNX)
    before = {name: (models / "churn" / name).read_text() for name in (SERVED, BEFORE)}
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        promote(models, "churn", "2")
    assert {name: (models / "churn" / name).read_text() for name in (SERVED, BEFORE)} == before


def test_a_rollback_to_a_version_that_is_gone_changes_nothing(models):
    promote(models, "churn", "1")
    shutil.rmtree(models / "churn" / "3")
    with pytest.raises(ArtifactError, match="model 'churn' has no version 3"):
        rollback(models, "churn")
    assert served(models) == "1"


def test_a_promotion_that_is_cut_short_leaves_the_served_version(models, monkeypatch):
    promote(models, "churn", "1")

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact, "set_served_version", cut)
    with pytest.raises(KeyboardInterrupt):
        promote(models, "churn", "2")
    assert served(models) == "1"
    with pytest.raises(ArtifactError, match="no promotion to take back"):
        rollback(models, "churn")


def test_nothing_but_the_named_files_is_left_by_a_promotion(models):
    promote(models, "churn", "1")
    assert {path.name for path in (models / "churn").iterdir()} == {"1", "2", "3", SERVED, BEFORE}


def test_a_model_that_this_code_cannot_finish_is_not_answered_by_chance(tmp_path):
    write_toy(tmp_path)
    model = read_published(tmp_path, "toy", "1")
    with pytest.raises(KeyError):
        model.answers(rows_of(Dataset(DATA.frame.drop(columns=list(CHARGES)), "x").frame))


def test_a_promotion_mends_a_choice_of_a_version_that_is_gone(models):
    promote(models, "churn", "2")
    shutil.rmtree(models / "churn" / "2")
    assert promote(models, "churn", "1") is None
    assert served(models) == "1"
