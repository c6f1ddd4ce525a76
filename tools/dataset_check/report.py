"""The report of a data set's faults."""

from collections.abc import Sequence

from .faults import KINDS, LABELS, Fault


def count(faults: Sequence[Fault], *levels: str) -> int:
    """Count the faults of some levels."""
    return sum(KINDS[fault.kind].level in levels for fault in faults)


def report(faults: Sequence[Fault], first: int) -> list[str]:
    """Lines that list faults by kind, errors first, and the ``first`` faults
    of each kind one by one, unless it needs no remedy."""
    lines = []
    for name, (level, effect, remedy) in KINDS.items():
        group = [fault for fault in faults if fault.kind == name]
        if not group:
            continue
        line = f'{LABELS[level]}: {name} ({len(group)}): {effect}.'
        if not remedy:
            lines.append(line)
            continue
        lines.append(f'{line} Remedy: {remedy}.')
        lines += [f'  {fault}' for fault in group[:first]]
        if len(group) > first:
            lines.append(f'  ... and {len(group) - first} more')
    return lines
