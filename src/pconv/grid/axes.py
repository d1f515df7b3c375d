"""Which dimension is time, y and x, and how a grid is turned: latitude and longitude ascending, one column each.

Inside this package an array is ``(T, V, H, W)``: steps, variables, y from south to north, x from west to east. A grid
that goes round the globe starts at the smallest longitude of 0..360. ``Grid`` turns arrays and turns them back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pconv.errors import InputError

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

MATCH = 0.1
"""Coordinates are the same where they differ by less than this share of the grid's step."""
IRREGULAR = 0.05
"""A grid is regular where its steps differ by at most this share. Gaussian latitudes differ by about 1 %."""

_AXES = {"T": "time", "Y": "y", "X": "x"}
_STANDARD_NAMES = {
    "time": "time",
    "latitude": "y",
    "grid_latitude": "y",
    "projection_y_coordinate": "y",
    "longitude": "x",
    "grid_longitude": "x",
    "projection_x_coordinate": "x",
}
_NAMES = {
    "time": ("time", "t", "date", "day", "month", "year"),
    "y": ("lat", "latitude", "y", "rlat", "nav_lat", "nlat", "j", "nj"),
    "x": ("lon", "longitude", "x", "rlon", "nav_lon", "nlon", "i", "ni"),
}
_DEGREES = {
    "y": ("degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"),
    "x": ("degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"),
}


@dataclass(frozen=True)
class Axes:
    """The names of a variable's dimensions; ``time`` is empty for a single field whose time is a scalar."""

    time: str
    y: str
    x: str


def find_axes(
    name: str, dims: Sequence[str], coordinates: Mapping[str, Mapping[str, Any]], given: Sequence[str] | None = None
) -> Axes:
    """Find time, y and x by the CF conventions: axis, standard_name, units, then by the dimension's name.

    Args:
        name: of the variable, for messages.
        dims: the variable's dimensions.
        coordinates: the attributes of each dimension's coordinate variable, where it has one.
        given: time, y and x as the user named them.

    Returns:
        The three names. ``time`` is empty where there is no such dimension.

    Raises:
        InputError: a dimension that was named is not there, or y or x cannot be found.
    """
    if given:
        unknown = [dim for dim in given if dim not in dims]
        if len(given) != 3 or unknown:
            raise InputError(f"--dims takes three of {name}'s dimensions, time,y,x; it has {', '.join(dims)}")
        return Axes(*given)
    found: dict[str, str] = {}
    for test in (_by_axis, _by_standard_name, _by_units, _by_name):
        for role in ("time", "y", "x"):
            hits = [d for d in dims if d not in found.values() and test(d, coordinates.get(d, {})) == role]
            if role not in found and len(hits) == 1:
                found[role] = hits[0]
    if "y" not in found or "x" not in found:
        raise InputError(
            f"cannot tell which of {name}'s dimensions {', '.join(dims)} are y and x; use --dims time,y,x"
        )
    return Axes(found.get("time", ""), found["y"], found["x"])


def _by_axis(dim: str, attributes: Mapping[str, Any]) -> str | None:
    return _AXES.get(str(attributes.get("axis", "")).upper())


def _by_standard_name(dim: str, attributes: Mapping[str, Any]) -> str | None:
    return _STANDARD_NAMES.get(str(attributes.get("standard_name", "")))


def _by_units(dim: str, attributes: Mapping[str, Any]) -> str | None:
    units = str(attributes.get("units", "")).lower().strip().replace(" ", "_")
    if "_since_" in units:
        return "time"
    return next((role for role, known in _DEGREES.items() if units in known), None)


def _by_name(dim: str, attributes: Mapping[str, Any]) -> str | None:
    return next((role for role, known in _NAMES.items() if dim.lower() in known), None)


@dataclass(frozen=True, eq=False)
class Grid:
    """A rectangular grid, and how its arrays are turned.

    Attributes:
        y, x: coordinates inside, ascending: degrees for a grid of latitudes and longitudes, else as in the file.
        degrees: whether they are latitudes and longitudes, so that cells count by their area.
        periodic: whether the last column is the first one's neighbour.
        flip_y, flip_x, roll, doubled: how arrays of the file become arrays inside: the doubled last column goes, axes
            are flipped, then columns move to the left by ``roll``.
    """

    y: Floats
    x: Floats
    degrees: bool
    periodic: bool
    flip_y: bool = False
    flip_x: bool = False
    roll: int = 0
    doubled: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y), len(self.x)

    @property
    def steps(self) -> tuple[float, float]:
        """Of y and x, positive."""
        return _step(self.y), _step(self.x)

    @property
    def area(self) -> NDArray[np.float32]:
        """``(H, W)`` weights with mean 1: the cosine of the latitude, or 1 everywhere."""
        rows = np.cos(np.deg2rad(np.clip(self.y, -90, 90))) if self.degrees else np.ones(len(self.y))
        rows = np.maximum(rows, 1e-3)
        return np.repeat((rows / rows.mean())[:, None], len(self.x), axis=1).astype(np.float32)

    def inside(self, values: NDArray[Any]) -> NDArray[Any]:
        """An array ``(..., rows, columns)`` of the file, turned. A doubled column supplies what the first lacks."""
        if self.doubled:
            first, last = values[..., :1], values[..., -1:]
            merged = np.where(np.isnan(first), last, first) if values.dtype.kind == "f" else first
            values = np.concatenate([merged, values[..., 1:-1]], axis=-1)
        if self.flip_y:
            values = values[..., ::-1, :]
        if self.flip_x:
            values = values[..., ::-1]
        return np.roll(values, -self.roll, axis=-1) if self.roll else values

    def outside(self, values: NDArray[Any]) -> NDArray[Any]:
        """The inverse of ``inside``."""
        if self.roll:
            values = np.roll(values, self.roll, axis=-1)
        if self.flip_x:
            values = values[..., ::-1]
        if self.flip_y:
            values = values[..., ::-1, :]
        return np.concatenate([values, values[..., :1]], axis=-1) if self.doubled else values

    def mismatch(self, y: Floats, x: Floats) -> str | None:
        """What differs from a grid with these coordinates, in words; None where they are the same."""
        if self.shape != (len(y), len(x)):
            return f"it has {self.shape[0]} x {self.shape[1]} cells, and {len(y)} x {len(x)} were expected"
        far_x = np.abs(self.x - x)
        if self.degrees:
            far_x = np.minimum(far_x % 360, 360 - far_x % 360)
        for what, far, step, own, other in (
            ("y", np.abs(self.y - y), self.steps[0], self.y, y),
            ("x", far_x, self.steps[1], self.x, x),
        ):
            if (far > MATCH * step).any():
                return f"its {what} is {_span(own)}, and {_span(other)} was expected"
        return None


def _span(values: Floats) -> str:
    return f"{values[0]:g} to {values[-1]:g}"


def _step(values: Floats) -> float:
    return float(np.median(np.abs(np.diff(values)))) if len(values) > 1 else 1.0


def make_grid(
    y: Floats | None,
    x: Floats | None,
    shape: tuple[int, int],
    degrees: bool,
    area: bool = True,
    periodic: bool | None = None,
) -> Grid:
    """The grid of a file's coordinates.

    Args:
        y, x: the coordinates of rows and columns; None where there are none of one dimension.
        shape: rows and columns in the file.
        degrees: whether they are latitudes and longitudes.
        area: False takes any grid as plain rows and columns of equal cells.
        periodic: whether columns go round; None finds out.

    Raises:
        InputError: the coordinates are missing or irregular, and ``area`` is True.
    """
    if not area and (y is None or x is None or not (_regular(y) and _regular(_unwrapped(x, degrees)))):
        return Grid(np.arange(shape[0], dtype=float), np.arange(shape[1], dtype=float), False, bool(periodic))
    if y is None or x is None:
        raise InputError(
            "the grid has no latitudes and longitudes of one dimension each (curvilinear grids have two); "
            "--no-area takes it as plain rows and columns of equal cells"
        )
    y, x = np.asarray(y, dtype=float), _unwrapped(np.asarray(x, dtype=float), degrees)
    if not (_regular(y) and _regular(x)):
        raise InputError("the grid is irregular: its steps differ; --no-area takes it as plain rows and columns")
    doubled = degrees and len(x) > 2 and abs(abs(x[-1] - x[0]) - 360) < MATCH * _step(x)
    if doubled:
        x = x[:-1]
    flip_y, flip_x = len(y) > 1 and y[-1] < y[0], len(x) > 1 and x[-1] < x[0]
    y, x = (y[::-1] if flip_y else y), (x[::-1] if flip_x else x)
    step = _step(x)
    globe = degrees and len(x) > 1 and abs(len(x) * step - 360) < step / 2
    roll = 0
    if degrees:
        east = x % 360
        east = np.where(east > 360 - MATCH * step, east - 360, east)
        if globe:
            roll = int(east.argmin())
            x = np.roll(east, -roll)
        else:
            x = x - x[0] + east[0]
    periodic = globe if periodic is None else periodic
    return Grid(y, x, degrees and area, periodic, flip_y, flip_x, roll, doubled)


def _unwrapped(x: Floats, degrees: bool) -> Floats:
    """Longitudes without a jump where they pass 180 or 360."""
    return np.unwrap(x, period=360) if degrees else x


def _regular(values: Floats) -> bool:
    steps = np.diff(np.asarray(values, dtype=float))
    if not len(steps):
        return True
    middle = float(np.median(steps))
    return bool(middle != 0 and np.isfinite(steps).all() and (np.abs(steps - middle) <= IRREGULAR * abs(middle)).all())
