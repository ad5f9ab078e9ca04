import numpy as np
import pytest

from telelink_shared.customer import CATEGORIES, COLUMNS, ELEVEN, USAGE
from telelink_shared.features import DERIVED, table
from telelink_training.config import CONFIGS, ConfigError, VariantConfig, load_config
from telelink_training.data import rows_of, synthetic


def test_a_grid_is_every_combination():
    variant = VariantConfig("any", (), {}, (), {"small": {"depth": [1, 2], "resampling": ["none", "smote"]}})
    assert list(variant.grid("small")) == [
        {"depth": 1, "resampling": "none"},
        {"depth": 1, "resampling": "smote"},
        {"depth": 2, "resampling": "none"},
        {"depth": 2, "resampling": "smote"},
    ]


@pytest.mark.parametrize("name", ["churn", "clv"])
def test_committed_configurations_name_known_features_and_end_with_a_variant_for_every_customer(name):
    config = load_config(CONFIGS / f"{name}.toml")
    for variant in config.variants:
        assert set(variant.needs) <= set(COLUMNS) - set(ELEVEN)
        assert set(variant.categorical) <= {*CATEGORIES}
        for numeric in variant.features.values():
            assert set(numeric) <= {*COLUMNS, *DERIVED} - {*CATEGORIES}
    assert config.variants[-1].needs == ()


def test_the_small_search_lies_within_the_full_one_and_tries_every_way_of_resampling():
    for variant in load_config(CONFIGS / "churn.toml").variants:
        full = list(variant.grid("full"))
        assert all(each in full for each in variant.grid("small"))
        tried = variant.search["small" if variant.compare else "full"]
        assert set(tried["resampling"]) == {"none", "class_weight", "smote"}
        assert tried["features"] == list(variant.features)


@pytest.mark.parametrize("name", ["churn", "clv"])
def test_a_variant_has_every_feature_of_a_customer_of_whom_just_its_needs_are_known(name):
    for variant in load_config(CONFIGS / f"{name}.toml").variants:
        frame = synthetic(100, seed=1).frame
        frame.loc[:, [column for column in USAGE if column not in variant.needs]] = np.nan
        for numeric in variant.features.values():
            assert not np.isnan(table(rows_of(frame), numeric=numeric, categorical=variant.categorical)).any()


@pytest.mark.parametrize("name", ["churn", "clv"])
def test_whatever_usage_is_known_a_variant_that_needs_more_comes_before_one_that_needs_less_of_it(name):
    variants = load_config(CONFIGS / f"{name}.toml").variants
    for position, variant in enumerate(variants):
        assert not any(set(variant.needs) > set(earlier.needs) for earlier in variants[:position])


def test_both_models_have_the_same_variants_so_that_one_word_names_both_answers():
    churn, clv = (load_config(CONFIGS / f"{name}.toml").variants for name in ("churn", "clv"))
    assert [(each.name, each.needs) for each in churn] == [(each.name, each.needs) for each in clv]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("seed =", "is no TOML ("),
        ("seed = 1", "lacks 'variants'"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(content, reason, tmp_path):
    path = tmp_path / "churn.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: {reason}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('"account_length"', '"tenure"', "variant usage names what there is not: tenure"),
        ('"voice_mail_plan"', '"colour"', "variant usage names what there is not: colour"),
        ("needs = []", 'needs = ["total_day_minutes"]', "the last variant must need nothing"),
    ],
)
def test_a_configuration_of_features_that_there_are_not_is_one_line(before, after, reason, tmp_path):
    path = tmp_path / "clv.toml"
    path.write_text((CONFIGS / "clv.toml").read_text().replace(before, after))
    with pytest.raises(ConfigError, match=reason):
        load_config(path)
