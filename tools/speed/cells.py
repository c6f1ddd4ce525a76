"""Cells and tables of the report."""

from collections.abc import Sequence
from statistics import median

from common.markdown import markdown_table


def ms(seconds: float) -> str:
    """Milliseconds; with a decimal below 100, as on a GPU."""
    value = seconds * 1000
    return f'{value:,.1f}' if value < 99.95 else f'{value:,.0f}'


def spread(rounds: Sequence[float]) -> str:
    """Shortest and longest time in milliseconds."""
    return f'{ms(min(rounds))}-{ms(max(rounds))}'


def ratio(rounds: Sequence[float], base: Sequence[float]) -> str:
    """Median of the ratios within each round.

    A machine's speed changes less within a round than between rounds.
    """
    return f'{median(a / b for a, b in zip(rounds, base)):.3f}'


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table whose columns, but for the first, hold numbers."""
    return markdown_table(head, rows, 'l' + 'r' * (len(head) - 1))
