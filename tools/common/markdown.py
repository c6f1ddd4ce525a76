"""Markdown tables."""

from collections.abc import Iterable, Sequence

RULES = dict(l='---', r='--:')


def markdown_table(
    head: Sequence[object], rows: Iterable[Sequence[object]], align: str
) -> str:
    """A Markdown table, without a line break at its end.

    Args:
        head: the columns' headings.
        rows: the cells of each row; anything that ``str`` takes.
        align: one letter a column, 'l' for left and 'r' for right.
    """
    lines = [head, [RULES[letter] for letter in align], *rows]
    return '\n'.join('| ' + ' | '.join(map(str, x)) + ' |' for x in lines)
