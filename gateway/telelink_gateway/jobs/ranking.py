"""The rows of a result by value at risk, the largest first, and what they can be filtered by: six bytes a row.

It is made of a sorted run for each chunk, by merging. Neither the runs nor the order are ever held as a whole: there
may be millions of rows.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import compress, count, islice
from typing import Final

from telelink_gateway.jobs.sql_store import JobStore
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
_KEY_BYTES: Final = 8
# Keys of each run that are held while runs are merged.
_KEYS_AT_ONCE: Final = 250
_ROWS_PER_PART: Final = 64 * 1024


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


def ranking_parts(store: JobStore, job_id: str, n_rows: int, *, most: int = _ROWS_PER_PART) -> Iterator[Part]:
    """All runs as one order.

    Args:
        n_rows: of the file.
        most: rows of a part.
    """
    tiers, plans = bytearray(n_rows), bytearray(n_rows)
    runs = []
    row = 0
    while row < n_rows and (run := store.part_with(job_id, "ranks", row)) is not None:
        row = run.first + run.n_items
        tiers[run.first : row] = run.places[: run.n_items]
        plans[run.first : row] = run.places[run.n_items :]
        runs.append(_keys(store, job_id, run.number, len(run.body)))
    keys = heapq.merge(*runs, reverse=True)
    first = 0
    for number in count():
        rows = array("I", (_MOST_ROWS - (key & _MOST_ROWS) for key in islice(keys, most)))
        if not rows:
            return
        body = b"".join((rows, *(bytes(map(each.__getitem__, rows)) for each in (tiers, plans))))
        yield Part("ranking", number, 0, first, len(rows), body)
        first += len(rows)


def _keys(store: JobStore, job_id: str, number: int, n_bytes: int) -> Iterator[int]:
    for start in range(0, n_bytes, _KEYS_AT_ONCE * _KEY_BYTES):
        yield from memoryview(store.piece(job_id, "ranks", number, start, _KEYS_AT_ONCE * _KEY_BYTES)).cast("Q")


@dataclass(frozen=True)
class Wanted:
    """Which rows; None: all."""

    tier: Tier | None = None
    state: str | None = None
    plan: str | None = None


def page(order: Iterable[Part], wanted: Wanted, *, offset: int, limit: int) -> tuple[list[int], int]:
    """The rows from a rank on, and how many there are in all; a few passes in compiled code over all rows."""
    rows: list[int] = []
    n_before = 0
    for part in order:
        found, n_rows = rows_of(part, wanted)
        rows.extend(islice(found, max(0, offset - n_before), max(0, offset + limit - n_before)))
        n_before += n_rows
    return rows, n_before


def parts_of(store: JobStore, job_id: str) -> Iterator[Part]:
    """The order as it was kept."""
    first = 0
    while (part := store.part_with(job_id, "ranking", first)) is not None and part.first + part.n_items > first:
        yield part
        first += part.n_items


def rows_of(part: Part, wanted: Wanted) -> tuple[Iterator[int], int]:
    """The rows of a part of the order that are wanted, and how many these are."""
    n_rows = part.n_items
    rows: Iterable[int] = memoryview(part.body)[: n_rows * _ROW_BYTES].cast("I")
    tiers = part.body[n_rows * _ROW_BYTES : n_rows * (_ROW_BYTES + 1)]
    plans = part.body[n_rows * (_ROW_BYTES + 1) :]
    if wanted.tier is not None or wanted.state is not None:
        is_wanted = tiers.translate(_of_tiers(wanted))
        n_rows = is_wanted.count(1)
        rows, plans = compress(rows, is_wanted), bytes(compress(plans, is_wanted))
    if wanted.plan is not None:
        is_wanted = plans.translate(bytes(value == PLAN_VALUES.index(wanted.plan) for value in range(256)))
        n_rows = is_wanted.count(1)
        rows = compress(rows, is_wanted)
    return iter(rows), n_rows


def _of_tiers(wanted: Wanted) -> bytes:
    def fits(value: int) -> Iterator[bool]:
        yield wanted.tier is None or value >> _STATE_BITS == TIERS.index(wanted.tier)
        yield wanted.state is None or value & (2**_STATE_BITS - 1) == _STATES[wanted.state]

    return bytes(all(fits(value)) for value in range(256))
