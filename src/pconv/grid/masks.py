"""Mask files: where filling is allowed, or which cells to hide, for all steps or for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pconv.errors import InputError
from pconv.grid.axes import Bools, Grid, find_axes, make_grid
from pconv.grid.series import _attributes, _coordinate, _in_degrees, open_file
from pconv.grid.times import Times, in_units, read_times


@dataclass(frozen=True, eq=False)
class StepMask:
    """``maps``: ``(N, H, W)``, True where the file is not 0; ``index``: the map of each step of a series."""

    maps: Bools
    index: tuple[int, ...]

    def steps(self, numbers: Sequence[int]) -> Bools:
        """``(len(numbers), 1, H, W)``."""
        return self.maps[[self.index[n] for n in numbers]][:, None]


def read_mask(text: str, grid: Grid, times: Times | None) -> StepMask:
    """Read a NetCDF file of a mask: non-zero and not missing is True.

    Args:
        text: ``FILE``, or ``FILE:VARIABLE`` where the file has several.
        grid: that the mask must be on.
        times: steps that it must have, where it has a time; None takes it as a list of patterns.

    Raises:
        InputError: no such file or variable, another grid, or steps without a mask.
    """
    name, colon, wanted = text.rpartition(":")
    path = Path(name) if colon and not Path(text).exists() else Path(text)
    file = open_file(path)
    try:
        if path == Path(text):
            wanted = ""
        fields = [n for n, v in file.variables.items() if v.ndim in (2, 3) and "bnds" not in v.dimensions]
        if wanted and wanted not in file.variables:
            raise InputError(f"{path} has no variable {wanted!r}; it has {', '.join(fields)}")
        if not wanted and len(fields) != 1:
            raise InputError(f"{path} has {len(fields)} variables that could be a mask; name one as {path}:NAME")
        variable = file[wanted or fields[0]]
        coordinates = {dim: _attributes(file[dim]) for dim in variable.dimensions if dim in file.variables}
        axes = find_axes(variable.name, variable.dimensions, coordinates)
        order = [variable.dimensions.index(d) for d in (axes.time, axes.y, axes.x) if d]
        if len(order) != variable.ndim:
            raise InputError(f"{variable.name} in {path} must have the dimensions y and x, and at most time")
        numbers = np.nan_to_num(np.asarray(variable[...], dtype=float)).transpose(order)
        numbers = numbers if axes.time else numbers[None]
        own = make_grid(
            _coordinate(file, axes.y), _coordinate(file, axes.x), numbers.shape[1:],  # type: ignore[arg-type]
            _in_degrees(file, axes.y), grid.degrees, grid.periodic,
        )  # fmt: skip
        why = own.mismatch(grid.y, grid.x)
        if why:
            raise InputError(f"the mask {path} is on another grid: {why}")
        maps = own.inside(numbers) != 0
        if times is None:
            return StepMask(maps, tuple(range(len(maps))))
        if not axes.time or len(maps) == 1:
            return StepMask(maps[:1], (0,) * len(times.numbers))
        time = file.variables.get(axes.time)
        if time is None:
            return _by_number(path, maps, times)
        there = read_times(time[:], getattr(time, "units", ""), getattr(time, "calendar", "standard"))
        return _by_time(path, maps, in_units(there, times.units, times.calendar), times)
    finally:
        file.close()


def _by_number(path: Path, maps: Bools, times: Times) -> StepMask:
    if len(maps) != len(times.numbers):
        raise InputError(f"the mask {path} has {len(maps)} steps, and the data has {len(times.numbers)}")
    return StepMask(maps, tuple(range(len(maps))))


def _by_time(path: Path, maps: Bools, numbers: np.ndarray, times: Times) -> StepMask:  # type: ignore[type-arg]
    far = np.abs(numbers[None] - times.numbers[:, None])
    index = far.argmin(1)
    lacking = int((far.min(1) > 0.1 * max(times.step, 1e-9)).sum())
    if lacking:
        raise InputError(f"the mask {path} has no map for {lacking} of the {len(times.numbers)} steps")
    return StepMask(maps, tuple(int(i) for i in index))
