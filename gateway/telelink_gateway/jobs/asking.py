"""Asks both models about the valid rows of a chunk, and waits for as long as one of them cannot answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from telelink_gateway.upstream.answer import Answer
from telelink_gateway.upstream.binary import binary_inputs, json_inputs
from telelink_gateway.upstream.client import ModelClient, Refused
from telelink_shared.bulk.table import Checked
from telelink_shared.inference import BINARY_EXTENSION, ModelMetadata
from telelink_shared.problem import ModelUnavailable

# Measured: larger calls are no faster, and single requests wait longer behind them.
ROWS_PER_CALL: Final = 1_250
_CALL_S: Final = 15.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0

log = structlog.get_logger()


@dataclass
class Figures:
    """What a model says about a chunk's valid rows.

    Attributes:
        columns: values by output name, one for each of these rows.
        invalid: places of rows without a valid answer; their values count for nothing.
        versions: that answered.
        metadata: of the last one.
    """

    columns: dict[str, list[float]]
    invalid: set[int] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    metadata: ModelMetadata | None = None

    def add(self, answer: Answer) -> None:
        """The next rows."""
        n_before = len(next(iter(self.columns.values())))
        for name, values in self.columns.items():
            values.extend(answer.columns[name])
        self.invalid.update(n_before + row for row in answer.invalid)
        self.versions.add(answer.version)
        self.metadata = answer.metadata

    def add_refused(self) -> None:
        """The next row, of which the model will not take the values."""
        self.invalid.add(len(next(iter(self.columns.values()))))
        for values in self.columns.values():
            values.append(0.0)


class Asking:
    """One model service, for jobs.

    Args:
        waits: told whenever nobody answers, with the problem, and None once somebody does again.
    """

    def __init__(self, client: ModelClient, outputs: Sequence[str], waits: Callable[[str, str | None], None]) -> None:
        self._client = client
        self._outputs = outputs
        self._waits = waits
        self._takes_bytes: bool | None = None

    async def ask(self, checked: Checked) -> Figures:
        """All figures; it takes as long as it takes."""
        figures = Figures({name: [] for name in self._outputs})
        for start in range(0, len(checked.good), ROWS_PER_CALL):
            await self._ask(checked.part(start, start + ROWS_PER_CALL), figures)
        return figures

    async def _ask(self, checked: Checked, figures: Figures) -> None:
        n_rows = len(checked.good)
        try:
            figures.add(await self._answer(checked))
        except Refused:
            if self._takes_bytes:
                # Perhaps it has been replaced by one that takes no bytes.
                self._takes_bytes = False
                await self._ask(checked, figures)
                self._takes_bytes = None
            elif n_rows == 1:
                log.warning("model service refused a customer", upstream=self._client.service.name)
                figures.add_refused()
            else:
                # Halved until each that is refused stands alone.
                for part in (checked.part(0, n_rows // 2), checked.part(n_rows // 2, n_rows)):
                    await self._ask(part, figures)

    async def _answer(self, checked: Checked) -> Answer:
        pause_s = _FIRST_PAUSE_S
        while True:
            deadline = asyncio.get_running_loop().time() + _CALL_S
            try:
                if self._takes_bytes is None:
                    self._takes_bytes = BINARY_EXTENSION in await self._client.extensions(deadline=deadline)
                inputs = binary_inputs(checked) if self._takes_bytes else json_inputs(checked)
                answer = await self._client.infer(inputs, headers=_NO_HEADERS, deadline=deadline)
            except ModelUnavailable as problem:
                self._waits(self._client.service.name, problem.detail)
                self._takes_bytes = None
                await asyncio.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
            else:
                self._waits(self._client.service.name, None)
                return answer


_NO_HEADERS: Final[Mapping[str, str]] = {}
