"""The time axis: what follows what, and in which month. Times are decoded only where one of the two needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pconv.errors import InputError

FOLLOWS = 1.5
"""A step is another's neighbour where it is less than this many usual steps away."""


@dataclass(frozen=True, eq=False)
class Times:
    """The steps of a series, in order.

    Attributes:
        numbers: ``(T,)`` ascending, in ``units``.
        units, calendar: CF's, such as "hours since 1970-01-01" and "360_day".
        months: ``(T,)`` 1 to 12; None where the times cannot be decoded.
    """

    numbers: NDArray[np.float64]
    units: str
    calendar: str
    months: NDArray[np.int64] | None

    @property
    def step(self) -> float:
        """The usual distance of two steps; 0 for a single one."""
        return float(np.median(np.diff(self.numbers))) if len(self.numbers) > 1 else 0.0

    @property
    def linked(self) -> NDArray[np.bool_]:
        """``(T - 1,)``: whether the next step follows at the usual distance."""
        return np.diff(self.numbers) < FOLLOWS * self.step


def read_times(numbers: NDArray[Any], units: str, calendar: str) -> Times:
    """Times from the numbers in a file."""
    numbers = np.asarray(numbers, dtype=np.float64)
    return Times(numbers, units, calendar, months_of(numbers, units, calendar))


def months_of(numbers: NDArray[np.float64], units: str, calendar: str) -> NDArray[np.int64] | None:
    import cftime

    try:
        dates = cftime.num2date(numbers, units, calendar)
    except (ValueError, OverflowError, TypeError):
        return None
    return np.array([date.month for date in np.atleast_1d(dates)], dtype=np.int64)


def in_units(times: Times, units: str, calendar: str) -> NDArray[np.float64]:
    """The numbers of ``times`` in other units.

    Raises:
        InputError: the calendars differ, or the times cannot be decoded.
    """
    if (times.units, times.calendar) == (units, calendar):
        return times.numbers
    import cftime

    if times.calendar != calendar or times.months is None:
        raise InputError(
            f"the files' times cannot be put in order: one has {units!r} in the calendar {calendar!r}, another "
            f"{times.units!r} in {times.calendar!r}"
        )
    dates = cftime.num2date(times.numbers, times.units, times.calendar)
    return np.asarray(cftime.date2num(dates, units, calendar), dtype=np.float64)


def runs(places: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Pairs of file and step as runs ``(file, first, last + 1)`` of steps that lie together."""
    found: list[tuple[int, int, int]] = []
    for file, step in places:
        if found and found[-1][0] == file and found[-1][2] == step:
            found[-1] = (file, found[-1][1], step + 1)
        else:
            found.append((file, step, step + 1))
    return found
