"""Checks of config options, made when the object that takes them is built.

The ``owner`` of every function is the object that takes the options. Error
messages start with the name of its class.
"""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

from mmengine.registry import Registry

from .errors import InputError


def check(
    owner: object, fits: Callable[[Any], bool], rule: str, **options
) -> None:
    """Check the values of options.

    Args:
        owner: Takes the options.
        fits: Returns whether a value is allowed.
        rule: Completes the sentence "the option must ...".
        options: Values by option name.

    Raises:
        InputError: Names the first option whose value is not allowed.
    """
    for option, value in options.items():
        if not fits(value):
            raise InputError(
                f'{type(owner).__name__}: {option}={value!r} must {rule}'
            )


def check_whole(owner: object, least: int = 1, **options) -> None:
    """:func:`check` that options are whole numbers of at least ``least``."""
    check(
        owner,
        lambda value: _is_whole(value) and value >= least,
        f'be a whole number of at least {least}',
        **options,
    )


def check_list(owner: object, **options) -> None:
    """:func:`check` that options are lists of whole numbers from 1 on, and
    not empty."""
    check(
        owner,
        lambda values: (
            isinstance(values, (list, tuple))
            and len(values) > 0
            and all(_is_whole(v) and v >= 1 for v in values)
        ),
        'be a list of whole numbers of at least 1, not empty',
        **options,
    )


def check_equal(owner: object, expected: Any, reason: str, **options) -> None:
    """:func:`check` that options have one value, for a ``reason``."""
    check(
        owner,
        lambda value: value == expected,
        f'be {expected!r}, {reason}',
        **options,
    )


def check_choice(owner: object, choices: tuple, **options) -> None:
    """:func:`check` that the values of options are among ``choices``."""
    check(
        owner,
        lambda value: value in choices,
        f'be one of {", ".join(map(repr, choices))}',
        **options,
    )


def check_number(
    owner: object, fits: Callable[[float], bool], rule: str, **options
) -> None:
    """:func:`check` that options are real numbers that ``fits`` accepts."""
    check(
        owner,
        lambda value: (
            isinstance(value, Real)
            and not isinstance(value, bool)
            and fits(value)
        ),
        rule,
        **options,
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def build_part(
    registry: Registry,
    owner: object,
    option: str,
    cfg: dict,
    modules: Sequence[str],
    **required,
) -> Any:
    """Build a part of ``owner`` whose ``type`` a config selects.

    Args:
        registry: Registry of the part's types.
        owner: Object that takes the part.
        option: Option of ``owner`` that holds the config.
        cfg: Config of the part.
        modules: Modules that define this project's types of the part.
        required: Arguments of the part that ``owner`` determines.

    Raises:
        InputError: The config has no type, one that is not registered, or
            contradicts ``required``.
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
                for name, cls in registry.module_dict.items()
                if cls.__module__ in modules
            )
            raise InputError(
                f'{type(owner).__name__}: {option}.type={kind!r} is not '
                f'registered; the types of this project are {types}'
            )
    for name, expected in required.items():
        value = {f'{option}.{name}': cfg.get(name, expected)}
        check_equal(owner, expected, 'or be left out', **value)
    return registry.build(dict(cfg, **required))
