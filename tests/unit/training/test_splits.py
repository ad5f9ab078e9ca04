import pandas as pd

from telelink_training.data import CHURN, synthetic
from telelink_training.splits import hold_out

DATA = synthetic(1_000, seed=5)


def test_a_fifth_is_held_out_with_the_same_share_of_churners_and_no_row_in_common():
    train, test = hold_out(DATA, seed=1)
    assert (len(train.frame), len(test.frame)) == (800, 200)
    assert abs(train.frame[CHURN].mean() - test.frame[CHURN].mean()) < 0.005
    both = pd.concat([train.frame, test.frame])
    assert not both.duplicated().any()
    assert len(both.merge(DATA.frame)) == 1_000


def test_the_same_seed_holds_out_the_same_rows():
    assert [each.fingerprint for each in hold_out(DATA, seed=1)] == [
        each.fingerprint for each in hold_out(DATA, seed=1)
    ]
    assert hold_out(DATA, seed=1)[1].fingerprint != hold_out(DATA, seed=2)[1].fingerprint
