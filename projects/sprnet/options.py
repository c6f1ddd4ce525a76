"""Options of a config, checked when what takes them is built."""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

from mmengine.registry import Registry


def check(
    owner: str, fits: Callable[[Any], bool], allowed: str, **options
) -> None:
    """Refuse values that do not fit.

    Args:
        owner: The class that takes the options.
        fits: Whether a value does.
        allowed: What does, after 'must'.
        options: The values by their names.

    Raises:
        ValueError: Names the first that does not, and what would.
    """
    for option, value in options.items():
        if not fits(value):
            raise ValueError(f'{owner}: {option}={value!r} must {allowed}')


def check_whole(owner: str, least: int = 1, **options) -> None:
    """:func:`check` that options are whole numbers of at least ``least``."""
    check(
        owner,
        lambda value: is_whole(value) and value >= least,
        f'be at least {least} and whole',
        **options,
    )


def check_number(
    owner: str, fits: Callable[[float], bool], allowed: str, **options
) -> None:
    """:func:`check` that options are numbers, and fit."""
    check(
        owner,
        lambda value: (
            isinstance(value, Real)
            and not isinstance(value, bool)
            and fits(value)
        ),
        allowed,
        **options,
    )


def is_whole(value: Any) -> bool:
    """Whether it is a whole number; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def build_part(
    registry: Registry,
    owner: str,
    option: str,
    cfg: dict,
    ours: Sequence[str],
    **told,
) -> Any:
    """Build a part whose ``type`` a config chooses.

    Args:
        registry: Where the types are.
        owner: The class that takes the part.
        option: The part's name.
        cfg: The part's config.
        ours: The modules of the types that the project has for it.
        told: What the owner tells the part.

    Raises:
        ValueError: A config without a type, or one that contradicts ``told``.
        KeyError: A type that is not registered.
    """
    check(
        owner,
        lambda value: isinstance(value, dict) and 'type' in value,
        'be a dict with a type',
        **{option: cfg},
    )
    with registry.switch_scope_and_registry(cfg.get('_scope_')) as scoped:
        kind = cfg['type']
        if isinstance(kind, str) and scoped.get(kind) is None:
            types = ', '.join(
                repr(name)
                for name, one in registry.module_dict.items()
                if one.__module__ in ours
            )
            raise KeyError(
                f'{owner}: {option}.type={kind!r} is not registered; the '
                f'types of this project are {types}'
            )
    for name, value in told.items():
        said = cfg.get(name, value)
        if said != value:
            raise ValueError(
                f'{owner}: {option}.{name}={said!r} must be {value!r}, or be '
                'left out'
            )
    return registry.build(dict(cfg, **told))
