import numpy as np
import pytest

from telelink_shared.customer import CATEGORIES, COLUMNS, ELEVEN, USAGE
from telelink_shared.features import DERIVED, table
from telelink_training.config import CONFIGS, VariantConfig, load_config
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
        assert set(variant.search["small"]["resampling"]) == {"none", "class_weight", "smote"}
        assert variant.search["small"]["features"] == list(variant.features)


@pytest.mark.parametrize("name", ["churn", "clv"])
def test_a_variant_has_every_feature_of_a_customer_of_whom_just_its_needs_are_known(name):
    for variant in load_config(CONFIGS / f"{name}.toml").variants:
        frame = synthetic(100, seed=1).frame
        frame.loc[:, [column for column in USAGE if column not in variant.needs]] = np.nan
        for numeric in variant.features.values():
            assert not np.isnan(table(rows_of(frame), numeric=numeric, categorical=variant.categorical)).any()
