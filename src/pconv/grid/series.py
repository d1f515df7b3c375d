"""One or more NetCDF files as one series of fields, read in blocks of steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from pconv.errors import InputError
from pconv.grid.axes import Axes, Bools, Grid, find_axes, make_grid
from pconv.grid.missing import Packing, constant_cells, read_packing
from pconv.grid.times import Times, in_units, read_times, runs

BLOCK_CELLS = 20_000_000
"""Cells that are held in memory at a time while files are read step by step."""
SHOWN = 12


@dataclass(frozen=True)
class ReadOptions:
    """How files are understood.

    Attributes:
        dims: time, y and x by name, instead of the CF conventions.
        missing: a value that means missing, beside those that the file names.
        area: whether cells count by their area; False takes any grid as rows and columns.
        periodic: whether columns go round the globe; None finds out.
    """

    dims: tuple[str, ...] | None = None
    missing: float | None = None
    area: bool = True
    periodic: bool | None = None


@dataclass(frozen=True)
class FileVariable:
    """One variable in one file."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    axes: Axes
    packing: Packing

    def index(self, first: int, last: int) -> tuple[slice | int, ...]:
        """Where the steps ``first`` to ``last - 1`` are; other dimensions have one value each."""
        return tuple(slice(first, last) if dim == self.axes.time else slice(None) for dim in self.dims)

    def to_steps(self, stored: NDArray[Any]) -> NDArray[Any]:
        """An array in the file's order of dimensions as ``(T, rows, columns)``."""
        names = [self.axes.time, self.axes.y, self.axes.x]
        wanted = [self.dims.index(name) for name in names if name in self.dims]
        others = [axis for axis in range(len(self.dims)) if axis not in wanted]
        moved = stored.transpose(*wanted, *others).reshape([stored.shape[axis] for axis in wanted])
        return moved if self.axes.time else moved[None]

    def from_steps(self, steps: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        """The inverse of ``to_steps``."""
        names = [self.axes.time, self.axes.y, self.axes.x]
        wanted = [self.dims.index(name) for name in names if name in self.dims]
        order = [*wanted, *(axis for axis in range(len(self.dims)) if axis not in wanted)]
        return steps.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


@dataclass(eq=False)
class Scan:
    """What one look at all steps finds.

    Attributes:
        counts: missing cells of each variable, by kind.
        known: ``(T, V)`` observed cells of each step, by area, as a share of all cells.
        ever: ``(V, H, W)`` cells that are known in any step.
        missing: ``(T, V, H, W)``, only where it was asked for.
        constants: sentences about values that cover the same cells in every step.
    """

    counts: dict[str, Counter[str]]
    known: NDArray[np.float64]
    ever: Bools
    missing: Bools | None = None
    constants: list[str] = field(default_factory=list)


class Series:
    """One or more files as one series, in the order of their times.

    Args:
        paths: NetCDF files with the same variables on the same grid.
        variables: their names.
        options: how the files are understood.
        need_time: refuse a variable whose time is a scalar.

    Raises:
        InputError: a file, a variable, an axis or a grid is not what is needed; the message is one sentence.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        variables: Sequence[str],
        options: ReadOptions | None = None,
        need_time: bool = True,
    ) -> None:
        self.paths, self.variables = [Path(path) for path in paths], list(variables)
        self.options = options or ReadOptions()
        self.files = [open_file(path) for path in self.paths]
        self.contents = [
            [_variable(path, file, name, self.options, need_time) for name in self.variables]
            for path, file in zip(self.paths, self.files, strict=True)
        ]
        grids = [self._grid(number) for number in range(len(self.paths))]
        self.grid: Grid = grids[0]
        self.grids: list[Grid] = grids
        for path, grid in zip(self.paths, grids, strict=True):
            why = grid.mismatch(self.grid.y, self.grid.x)
            if why:
                raise InputError(f"{path} and {self.paths[0]} are not on one grid: {why}")
        self.attributes = [_attributes(self.files[0][name]) for name in self.variables]
        for name, number in ((name, number) for name in self.variables for number in range(len(self.paths))):
            own, first = (str(getattr(file[name], "units", "")) for file in (self.files[number], self.files[0]))
            if own != first:
                raise InputError(f"{name} has the units {own!r} in {self.paths[number]} and {first!r} before")
        self.times, self.places = self._series()

    def _grid(self, number: int) -> Grid:
        first = self.contents[number][0]
        file, axes = self.files[number], first.axes
        y, x = (_coordinate(file, dim) for dim in (axes.y, axes.x))
        sizes = dict(zip(first.dims, first.shape, strict=True))
        degrees = _in_degrees(file, axes.y)
        try:
            grid = make_grid(y, x, (sizes[axes.y], sizes[axes.x]), degrees, self.options.area, self.options.periodic)
        except InputError as error:
            raise InputError(f"{self.paths[number]}: {error}") from error
        for other in self.contents[number][1:]:
            if (other.axes, other.to_steps(np.empty(other.shape, bool)).shape[1:]) != (
                axes,
                (sizes[axes.y], sizes[axes.x]),
            ):
                raise InputError(f"{first.name} and {other.name} in {self.paths[number]} have different dimensions")
        return grid

    def _series(self) -> tuple[Times, list[tuple[int, int]]]:
        each = []
        for file, content in zip(self.files, self.contents, strict=True):
            time = content[0].axes.time or _scalar_time(file, content[0])
            variable = file.variables.get(time)
            if variable is None:  # a dimension without a coordinate: steps are counted
                each.append(Times(np.arange(len(file.dimensions[time]), dtype=float), "", "standard", None))
                continue
            numbers = np.atleast_1d(np.ma.filled(np.ma.asarray(variable[...]).astype(float), np.nan))
            each.append(read_times(numbers, getattr(variable, "units", ""), getattr(variable, "calendar", "standard")))
        units, calendar = each[0].units, each[0].calendar
        numbers = np.concatenate([in_units(times, units, calendar) for times in each])
        places = [(file, step) for file, times in enumerate(each) for step in range(len(times.numbers))]
        order = np.argsort(numbers, kind="stable") if len(each) > 1 else np.arange(len(numbers))
        if len(each) > 1 and (np.diff(numbers[order]) <= 0).any():
            raise InputError("two of the files hold the same time step; give each step once")
        months = None if any(t.months is None for t in each) else np.concatenate([t.months for t in each])[order]  # type: ignore[misc]
        return Times(numbers[order], units, calendar, months), [places[i] for i in order]

    def __len__(self) -> int:
        return len(self.places)

    def close(self) -> None:
        for file in self.files:
            file.close()

    def read(self, first: int, last: int) -> tuple[NDArray[np.float32], dict[str, Counter[str]]]:
        """The steps ``first`` to ``last - 1`` as ``(T, V, H, W)``, NaN where missing, and the counts by kind."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in self.variables}
        parts = []
        for number, start, end in runs(self.places[first:last]):
            maps = []
            for variable in self.contents[number]:
                stored = self.files[number][variable.name][variable.index(start, end)]
                values, found = variable.packing.decode(stored)
                counts[variable.name].update(found)
                maps.append(self.grids[number].inside(variable.to_steps(values)))
            parts.append(np.stack(maps, axis=1))
        shape = (0, len(self.variables), *self.grid.shape)
        return np.concatenate(parts) if parts else np.empty(shape, np.float32), counts

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First and last + 1 of blocks of steps that fit into memory."""
        size = max(1, BLOCK_CELLS // (len(self.variables) * self.grid.shape[0] * self.grid.shape[1]))
        for first in range(0, len(self), size):
            yield first, min(first + size, len(self))

    def scan(self, keep_missing: bool = False) -> Scan:
        """Look at every step once.

        Raises:
            InputError: a variable is missing everywhere.
        """
        counts: dict[str, Counter[str]] = {name: Counter() for name in self.variables}
        shape = (len(self.variables), *self.grid.shape)
        ever, same, start = np.zeros(shape, bool), np.ones(shape, bool), np.zeros(shape, np.float32)
        known, missing = [], []
        for first, last in self.blocks():
            values, found = self.read(first, last)
            if not first:
                start = values[0]
            observed = np.isfinite(values)
            ever |= observed.any(0)
            same &= (values == start).all(0)
            known.append((observed * self.grid.area).mean((2, 3)))
            if keep_missing:
                missing.append(~observed)
            for name in self.variables:
                counts[name].update(found[name])
        for number, name in enumerate(self.variables):
            if not ever[number].any():
                raise InputError(f"{name} is missing everywhere: there is nothing to start from")
        scan = Scan(counts, np.concatenate(known), ever, np.concatenate(missing) if keep_missing else None)
        for number, name in enumerate(self.variables):
            constant = constant_cells(start[number], same[number]) if len(self) > 1 else None
            if constant:
                scan.constants.append(
                    f"{name} is {constant[0]:g} in the same {constant[1]} cells of every step; if that means missing, "
                    f"say --missing {constant[0]:g}"
                )
        return scan


def open_file(path: Path) -> netCDF4.Dataset:
    """Open a NetCDF file, with its numbers as they are stored.

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError(f"no file {path}")
    try:
        file = netCDF4.Dataset(path)
    except OSError as error:
        raise InputError(f"{path} is not a NetCDF file ({error.strerror or error})") from error
    file.set_auto_maskandscale(False)
    file.set_always_mask(False)
    return file


def _variable(path: Path, file: netCDF4.Dataset, name: str, options: ReadOptions, need_time: bool) -> FileVariable:
    if name not in file.variables:
        known = [each for each, variable in file.variables.items() if variable.ndim >= 2]
        shown = ", ".join(known[:SHOWN]) or "none with a grid"
        raise InputError(f"{path} has no variable {name!r}; it has {shown}")
    variable = file[name]
    coordinates = {dim: _attributes(file[dim]) for dim in variable.dimensions if dim in file.variables}
    axes = find_axes(name, variable.dimensions, coordinates, options.dims)
    packing = read_packing(name, variable.dtype, _attributes(variable), options.missing)
    found = FileVariable(name, variable.dimensions, variable.shape, axes, packing)
    if not axes.time and (need_time or not _scalar_time(file, found)):
        raise InputError(f"{name} in {path} has no time axis; its dimensions are {', '.join(variable.dimensions)}")
    sizes = dict(zip(found.dims, found.shape, strict=True))
    large = [dim for dim in found.dims if dim not in (axes.time, axes.y, axes.x) and sizes[dim] > 1]
    if large:
        raise InputError(
            f"{name} in {path} has the dimension {large[0]} of {sizes[large[0]]} values; select one first"
        )
    if 0 in found.shape:
        raise InputError(f"{name} in {path} has no steps or no cells")
    return found


def _scalar_time(file: netCDF4.Dataset, variable: FileVariable) -> str:
    """The name of a scalar time coordinate; empty where there is none."""
    named = str(variable.packing.attributes.get("coordinates", "")).split()
    for name in [*named, "time"]:
        if name in file.variables and not file[name].ndim and " since " in str(getattr(file[name], "units", "")):
            return name
    return ""


def _attributes(variable: Any) -> dict[str, Any]:
    return {name: variable.getncattr(name) for name in variable.ncattrs()}


def _coordinate(file: netCDF4.Dataset, dim: str) -> NDArray[np.float64] | None:
    variable = file.variables.get(dim)
    if variable is None or variable.ndim != 1 or variable.dtype.kind not in "fiu":
        return None
    scale, offset = (
        float(getattr(variable, name, default)) for name, default in (("scale_factor", 1), ("add_offset", 0))
    )
    return np.asarray(variable[:], dtype=float) * scale + offset


def _in_degrees(file: netCDF4.Dataset, dim: str) -> bool:
    """Whether a y axis is a latitude: by its units, its standard name or its name."""
    attributes = _attributes(file[dim]) if dim in file.variables else {}
    return is_latitude(dim, attributes)


def is_latitude(dim: str, attributes: dict[str, Any]) -> bool:
    """Whether a y axis is a latitude: by its units, its standard name or its name."""
    return (
        str(attributes.get("units", "")).lower().startswith("degree")
        or str(attributes.get("standard_name", "")) in ("latitude", "grid_latitude")
        or dim.lower() in ("lat", "latitude", "rlat")
    )
