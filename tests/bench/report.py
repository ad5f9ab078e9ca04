"""What a part of the benchmark found: figures as Markdown tables, and whether each bar was met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bar:
    """A figure with a limit.

    Attributes:
        at_least, at_most: one of them is set.
        spread: the lowest and the highest of the rounds, where there were several.
    """

    what: str
    figure: float
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    spread: tuple[float, float] | None = None

    @property
    def is_met(self) -> bool:
        """Whether the figure keeps the limit."""
        if self.at_least is not None:
            return self.figure >= self.at_least
        return self.at_most is None or self.figure <= self.at_most

    def cells(self) -> list[str]:
        """The row of the table of bars."""
        limit = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        spread = f" ({number(self.spread[0])} to {number(self.spread[1])})" if self.spread else ""
        return [
            self.what,
            f"{number(self.figure)}{self.unit}{spread}",
            limit + self.unit,
            "yes" if self.is_met else "no",
        ]


@dataclass
class Part:
    """A section of the report.

    Attributes:
        text: paragraphs and tables in Markdown.
    """

    title: str
    text: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def markdown(self) -> str:
        """The section."""
        return "\n\n".join([f"## {self.title}", *self.text])


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.{1 if abs(value) >= 10 else 2}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, figures to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def bars_table(bars: Sequence[Bar]) -> str:
    """All bars with what was measured."""
    return table(["what", "measured", "bar", "met"], [bar.cells() for bar in bars])
