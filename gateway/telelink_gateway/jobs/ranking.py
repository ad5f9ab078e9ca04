"""The rows of a result by value at risk, the largest first, and what they can be filtered by: six bytes a row.

It is made of a sorted run for each chunk, by merging, so that it takes little memory however many rows there are.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import compress, islice
from typing import Final

from telelink_gateway.jobs.store import Part
from telelink_shared.bulk.summary import in_cents
from telelink_shared.bulk.table import Scored
from telelink_shared.customer import PLAN_VALUES, STATES
from telelink_shared.decision import Tier

TIERS: Final[tuple[Tier, ...]] = ("Low", "Medium", "High")
_STATE_BITS: Final = 6
_MOST_ROWS: Final = 2**32 - 1
_STATES: Final = {state: place for place, state in enumerate(STATES)}
_ROW_BYTES: Final = 4


def rank_part(scored: Scored, number: int) -> Part:
    """A chunk's run. A key is the value at risk in cents and the row, so that the earlier of two equals is first."""
    first = scored.chunk.start.row
    checked, decided = scored.checked, scored.decided
    keys = sorted(
        (
            (in_cents(decision.value_at_risk_usd) << 32) | (_MOST_ROWS - first - row)
            for row, decision in zip(checked.good, decided.decisions, strict=True)
        ),
        reverse=True,
    )
    # A byte for tier and state of each row, then one for the plan of each.
    tiers, plans = bytearray(checked.n_rows), bytearray(checked.n_rows)
    facets = zip(
        checked.good, checked.words["state"], checked.words["international_plan"], decided.decisions, strict=True
    )
    for row, state, plan, decision in facets:
        tiers[row] = TIERS.index(decision.tier or "Low") << _STATE_BITS | _STATES[state]
        plans[row] = PLAN_VALUES.index(plan)
    return Part("ranks", number, 0, first, checked.n_rows, array("Q", keys).tobytes(), bytes(tiers + plans))


def ranking_part(runs: list[Part]) -> Part:
    """All runs as one order. They are let go of as soon as may be: there may be millions of rows."""
    tiers = b"".join(run.places[: run.n_items] for run in runs)
    plans = b"".join(run.places[run.n_items :] for run in runs)
    keys = [memoryview(run.body).cast("Q") for run in runs]
    runs.clear()
    rows = array("I", (_MOST_ROWS - (key & _MOST_ROWS) for key in heapq.merge(*keys, reverse=True)))
    keys.clear()
    facets = (bytes(map(each.__getitem__, rows)) for each in (tiers, plans))
    return Part("ranking", 0, 0, 0, len(rows), b"".join((rows.tobytes(), *facets)))


@dataclass(frozen=True)
class Wanted:
    """Which rows; None: all."""

    tier: Tier | None = None
    state: str | None = None
    plan: str | None = None


class Ranking:
    """The order as it was kept."""

    def __init__(self, part: Part) -> None:
        n_rows = part.n_items
        self._rows = array("I")
        self._rows.frombytes(part.body[: n_rows * _ROW_BYTES])
        self._tiers = part.body[n_rows * _ROW_BYTES : n_rows * (_ROW_BYTES + 1)]
        self._plans = part.body[n_rows * (_ROW_BYTES + 1) :]

    def find(self, wanted: Wanted, *, offset: int, limit: int) -> tuple[list[int], int]:
        """The rows from a rank on, and how many there are in all; a few passes in compiled code over all rows."""
        rows: Iterable[int] = self._rows
        n_rows = len(self._rows)
        if wanted.tier is not None or wanted.state is not None:
            is_wanted = self._tiers.translate(_of_tiers(wanted))
            n_rows = is_wanted.count(1)
            rows, plans = compress(rows, is_wanted), bytes(compress(self._plans, is_wanted))
        else:
            plans = self._plans
        if wanted.plan is not None:
            is_wanted = plans.translate(bytes(value == PLAN_VALUES.index(wanted.plan) for value in range(256)))
            n_rows = is_wanted.count(1)
            rows = compress(rows, is_wanted)
        return list(islice(rows, offset, offset + limit)), n_rows


def _of_tiers(wanted: Wanted) -> bytes:
    def fits(value: int) -> Iterator[bool]:
        yield wanted.tier is None or value >> _STATE_BITS == TIERS.index(wanted.tier)
        yield wanted.state is None or value & (2**_STATE_BITS - 1) == _STATES[wanted.state]

    return bytes(all(fits(value)) for value in range(256))
