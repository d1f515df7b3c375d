"""The options of a fill: one frozen object, made by the command line, the HTTP API and the Python API alike.

To add an option, add a field here and use it. The command line, the HTTP API and its description are made from the
fields.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from pconv.errors import InputError
from pconv.models import SEEDS

MOST_PIXELS = 1000
"""How far a hole may be dilated or its edge blended, in pixels."""


class OptionHelp(NamedTuple):
    """What a user needs to know of one option: a sentence, and the range of a number."""

    text: str
    low: int = 0
    high: int = 0


def _option(default: Any, text: str, low: int = 0, high: int = 0) -> Any:
    return field(default=default, metadata={"help": OptionHelp(text, low, high)})


@dataclass(frozen=True)
class InpaintOptions:
    """How a hole is filled.

    Attributes:
        invert: True: the mask's black is the hole, not its white.
        grow: pixels by which the hole is dilated on all sides, 0 to 1000.
        feather: pixels inside the hole's edge over which the fill is blended with what was there, 0 to 1000.
        label: values of a label map that are the hole, 0 to 65535: a whole number, several, or text such as "1,3".
        seed: 0 to 63: another seed gives the same hole another texture, and the same seed the same one. Networks
            without noise inputs ignore it.

    Raises:
        InputError: a value is of another type or out of its range.
    """

    invert: bool = _option(False, "Fill the mask's black instead of its white.")
    grow: int = _option(0, "Make the hole N pixels larger on all sides.", 0, MOST_PIXELS)
    feather: int = _option(
        0, "Blend the fill with what was there over N pixels inside the hole's edge.", 0, MOST_PIXELS
    )
    label: tuple[int, ...] = _option((), "Fill these values of a label map, such as 1,3.", 0, 65535)
    seed: int = _option(0, "Another number gives the same hole another texture.", 0, SEEDS - 1)

    def __post_init__(self) -> None:
        for each in fields(self):
            value, known = getattr(self, each.name), each.metadata["help"]
            if isinstance(each.default, bool):
                if not _is_bool(value):
                    raise InputError(f"{each.name} is {value!r}; give True or False")
                object.__setattr__(self, each.name, bool(value))
            elif isinstance(each.default, tuple):
                object.__setattr__(self, each.name, _whole_numbers(each.name, value, known))
            else:
                object.__setattr__(self, each.name, _whole_number(each.name, value, known))


def _is_bool(value: object) -> bool:
    return type(value).__name__ in ("bool", "bool_")  # numpy's too, without importing numpy


def _whole_numbers(name: str, value: Any, known: OptionHelp) -> tuple[int, ...]:
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        value = [int(part) if part.isdecimal() else part for part in parts]
    return tuple(_whole_number(name, each, known) for each in (value if isinstance(value, Iterable) else [value]))


def _whole_number(name: str, value: Any, known: OptionHelp) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = known.low - 1
    if _is_bool(value) or not known.low <= number <= known.high:
        raise InputError(f"{name} is {value!r}; give a whole number from {known.low} to {known.high}")
    return number
