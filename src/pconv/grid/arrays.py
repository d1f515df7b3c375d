"""Filling xarray's objects, lazily where they are dask's: ``fill``, and the accessor ``.pconv``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pconv.errors import InputError
from pconv.grid.axes import Axes, Bools, Grid, find_axes, make_grid
from pconv.grid.domain import Limits, long_gaps
from pconv.grid.fill import FillOptions, fill_block
from pconv.grid.missing import Packing, read_packing
from pconv.grid.model import GridModel, load_model
from pconv.grid.series import is_latitude
from pconv.grid.times import Times, read_times

Data = TypeVar("Data", xr.DataArray, xr.Dataset)


def fill(
    data: Data,
    model: GridModel | str | Path,
    *,
    everywhere: bool = False,
    mask: xr.DataArray | None = None,
    max_gap: int | None = None,
    max_area: float | None = None,
    min_observed: float = 0.0,
    minimum: float | None = None,
    maximum: float | None = None,
    missing: float | None = None,
    dims: Sequence[str] | None = None,
    device: str = "cpu",
) -> Data:
    """Fill gaps with a model that ``pconv grid train`` made.

    Args:
        data: the model's variable as a DataArray, or a Dataset that holds all of its variables. NaN is missing, and
            so is what the attributes ``_FillValue``, ``missing_value`` and ``valid_range`` of undecoded data name.
        model: a loaded model, or the path of its folder or file.
        everywhere: also fill cells that the training data never knew.
        mask: non-zero where filling is allowed, instead of the model's domain; with or without time.
        max_gap: the longest gap in time that is filled, in steps; not for dask arrays.
        max_area: the largest connected gap that is filled, km2, or cells on a plain grid.
        min_observed: the least share of the domain that a step must know, 0..1.
        minimum, maximum: limits of filled values.
        missing: a further value that means missing; as in training where it is left out.
        dims: time, y and x by name, instead of the CF conventions.
        device: where to compute.

    Returns:
        The same kind of object with the same dimensions, types, coordinates and attributes; known values are the
        same bits. A Dataset also has ``NAME_filled`` and ``NAME_error`` for each variable. Dask arrays stay lazy:
        chunks along time are kept, y and x become one chunk each.

    Raises:
        InputError: the model is for other data, or axes cannot be found.
        ModelError: there is no such model.
    """
    model = model if isinstance(model, GridModel) else load_model(model)
    single = isinstance(data, xr.DataArray)
    missing = model.facts.get("missing") if missing is None else missing
    arrays = _variables(data, model)
    options = FillOptions(everywhere, Limits(max_gap, max_area, min_observed), minimum, maximum, device)
    contents = [_content(array, name, missing, dims, model) for name, array in arrays.items()]
    first = contents[0]
    units = {name: str(array.attrs.get("units", "")) for name, array in arrays.items()}
    model.check(first.grid, units, "the data")
    times = _times(first.array, first.axes.time)
    maps = None if mask is None else _mask(mask, first, len(times.numbers))
    steps = [each.steps() for each in contents]
    if any(hasattr(each, "dask") for each in steps):
        if max_gap is not None:
            raise InputError("max_gap needs the whole series at once: load the data first")
        results = _lazy(steps, contents, model, times, options, maps)
    else:
        results = _fill_steps(
            [np.asarray(each) for each in steps], contents, model, times.months, times.linked,
            range(len(times.numbers)), options, maps,
        )  # fmt: skip
    filled = [tuple(each.back(part[number]) for part in results) for number, each in enumerate(contents)]
    if single:
        array = contents[0].array.copy(data=filled[0][0])
        array.encoding = dict(contents[0].array.encoding)
        return array  # type: ignore[return-value]
    out = data.copy()
    for each, (values, flags, errors) in zip(contents, filled, strict=True):
        name = each.name
        out[name] = each.array.copy(data=values)
        out[name].encoding = dict(data[name].encoding)
        out[name].attrs["ancillary_variables"] = _joined(each.array, f"{name}_filled", f"{name}_error")
        flag_attributes = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "not_filled filled"}
        out[f"{name}_filled"] = (each.array.dims, flags, flag_attributes | {"model_sha256": model.sha256})
        out[f"{name}_error"] = (each.array.dims, errors, {"units": units[name]} if units[name] else {})
    return out


def _joined(array: xr.DataArray, *names: str) -> str:
    return " ".join([*str(array.attrs.get("ancillary_variables", "")).split(), *names])


def _variables(data: xr.DataArray | xr.Dataset, model: GridModel) -> dict[str, xr.DataArray]:
    if isinstance(data, xr.DataArray):
        if len(model.variables) > 1:
            raise InputError(f"the model fills {', '.join(model.variables)} together: give a Dataset that holds them")
        name = model.variables[0] if data.name is None else str(data.name)
        return {name: data}
    if not isinstance(data, xr.Dataset):
        raise InputError(f"data must be an xarray DataArray or Dataset, not {type(data).__name__}")
    lacking = [name for name in model.variables if name not in data]
    if lacking:
        raise InputError(f"the dataset has no variable {lacking[0]!r}; it has {', '.join(map(str, data.data_vars))}")
    return {name: data[name] for name in model.variables}


@dataclass(frozen=True, eq=False)
class _Layout:
    """What a task needs of a variable."""

    name: str
    grid: Grid
    packing: Packing


@dataclass(frozen=True, eq=False)
class _Content(_Layout):
    """One variable: how its array is turned to ``(T, rows, columns)`` and back."""

    array: xr.DataArray
    axes: Axes

    def steps(self) -> Any:
        """``(T, rows, columns)``, of numpy or dask."""
        dims = [dim for dim in (self.axes.time, self.axes.y, self.axes.x) if dim]
        array = self.array.squeeze([d for d in self.array.dims if d not in dims]).transpose(*dims)
        return array.data if self.axes.time else array.data[None]

    def back(self, steps: Any) -> Any:
        """The inverse of ``steps``."""
        names = [dim for dim in (self.axes.time, self.axes.y, self.axes.x) if dim]
        others = [str(dim) for dim in self.array.dims if dim not in names]
        maps = (steps if self.axes.time else steps[0])[(..., *[None] * len(others))]
        return maps.transpose([[*names, *others].index(str(dim)) for dim in self.array.dims])


def _content(
    array: xr.DataArray, name: str, missing: float | None, dims: Sequence[str] | None, model: GridModel
) -> _Content:
    coordinates = {}
    for dim in map(str, array.dims):
        if dim in array.coords:
            coordinates[dim] = dict(array[dim].attrs)
            if array[dim].dtype.kind in "MO":
                coordinates[dim]["standard_name"] = "time"
    axes = find_axes(name, [str(dim) for dim in array.dims], coordinates, dims)
    if not axes.time and not (array.coords.get("time") is not None and array["time"].ndim == 0):
        raise InputError(f"{name} has no time axis; its dimensions are {', '.join(map(str, array.dims))}")
    large = [d for d in array.dims if d not in (axes.time, axes.y, axes.x) and array.sizes[d] > 1]
    if large:
        raise InputError(f"{name} has the dimension {large[0]} of {array.sizes[large[0]]} values; select one first")
    y, x = (
        np.asarray(array[dim].values, dtype=float) if dim in array.coords and array[dim].dtype.kind in "fiu" else None
        for dim in (axes.y, axes.x)
    )
    degrees = is_latitude(axes.y, coordinates.get(axes.y, {}))
    shape = (array.sizes[axes.y], array.sizes[axes.x])
    grid = make_grid(y, x, shape, degrees, model.grid.degrees, model.grid.periodic)
    return _Content(name, grid, read_packing(name, array.dtype, array.attrs, missing), array, axes)


def _times(array: xr.DataArray, time: str) -> Times:
    name = time or "time"
    if name not in array.coords:
        return Times(np.arange(array.sizes[name], dtype=float), "", "standard", None)
    values = np.atleast_1d(array[name].values)
    if values.dtype.kind == "M":
        numbers = values.astype("datetime64[s]").astype(np.int64) / 86400
        months = values.astype("datetime64[M]").astype(np.int64) % 12 + 1
        return Times(numbers, "days since 1970-01-01", "standard", months)
    if values.dtype.kind == "O":
        import cftime

        units, calendar = "days since 1970-01-01", values[0].calendar
        numbers = np.asarray(cftime.date2num(values, units, calendar), dtype=float)
        return Times(numbers, units, calendar, np.array([date.month for date in values]))
    attributes = array[name].attrs
    return read_times(values, str(attributes.get("units", "")), str(attributes.get("calendar", "standard")))


def _mask(mask: xr.DataArray, first: _Content, steps: int) -> Bools:
    dims = [dim for dim in (first.axes.time, first.axes.y, first.axes.x) if dim in mask.dims]
    if len(dims) != mask.ndim or first.axes.y not in dims or first.axes.x not in dims:
        raise InputError(f"mask must have the data's dimensions y and x, and at most time; it has {mask.dims}")
    chosen = mask
    if first.axes.time in mask.dims and first.axes.time in mask.coords and first.axes.time in first.array.coords:
        try:
            chosen = mask.sel({first.axes.time: first.array[first.axes.time]})
        except KeyError as error:
            raise InputError("mask has no map for some of the data's steps") from error
    numbers = np.nan_to_num(np.asarray(chosen.transpose(*dims).values, dtype=float))
    maps = first.grid.inside(numbers if numbers.ndim == 3 else numbers[None]) != 0
    if len(maps) not in (1, steps) or maps.shape[1:] != first.grid.shape:
        raise InputError(f"mask is {mask.shape}, and the data has {steps} steps of {first.grid.shape} cells")
    found: Bools = maps[:, None]
    return found


def _fill_steps(
    stored: Sequence[NDArray[Any]],
    contents: Sequence[_Layout],
    model: GridModel,
    months: NDArray[np.int64] | None,
    linked: Bools,
    steps: Sequence[int],
    options: FillOptions,
    mask: Bools | None,
) -> tuple[list[NDArray[Any]], list[NDArray[np.int8]], list[NDArray[np.float32]]]:
    """Values, flags and errors of each variable, ``(len(steps), rows, columns)``."""
    decoded = [each.packing.decode(array)[0] for each, array in zip(contents, stored, strict=True)]
    values = np.stack([each.grid.inside(array) for each, array in zip(contents, decoded, strict=True)], axis=1)
    chosen = list(steps)
    too_long = None
    if options.limits.max_gap is not None:
        too_long = long_gaps(np.isnan(values), options.limits.max_gap)[chosen]
    block = fill_block(model, values, months, linked, chosen, options, mask, too_long)
    out: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    for number, each in enumerate(contents):
        numbers = stored[number][chosen].copy()
        new = each.grid.outside(block.values[:, number])
        put = np.isnan(decoded[number][chosen]) & np.isfinite(new)
        encoded, fits = each.packing.encode(new[put])
        if not fits:
            raise InputError(f"filled values of {each.name} do not fit {each.packing.dtype}: decode the data first")
        numbers[put] = encoded
        for part, array in zip(
            out, (numbers, put.astype(np.int8), each.grid.outside(block.error[:, number])), strict=True
        ):
            part.append(array)
    return out


def _lazy(
    steps: list[Any],
    contents: Sequence[_Content],
    model: GridModel,
    times: Times,
    options: FillOptions,
    mask: Bools | None,
) -> tuple[list[Any], list[Any], list[Any]]:
    """The same for dask arrays: one task for each chunk of steps, which also takes its neighbours as context."""
    import dask
    import dask.array

    da: Any = dask.array

    arrays = [da.asarray(each) for each in steps]
    if any(len(axis) > 1 for array in arrays for axis in array.chunks[1:]) or len({a.chunks[0] for a in arrays}) > 1:
        warnings.warn("the data is rechunked: a fill needs whole fields, with chunks along time only", stacklevel=3)
    chunks = arrays[0].chunks[0]
    arrays = [array.rechunk((chunks, -1, -1)) for array in arrays]
    parts: tuple[list[list[Any]], ...] = tuple([[] for _ in contents] for _ in range(3))
    run = dask.delayed(_fill_steps, nout=3)
    layouts = [_Layout(each.name, each.grid, each.packing) for each in contents]
    ends = np.cumsum(chunks)
    for first, last in zip([0, *ends[:-1]], ends, strict=True):
        low, high = max(0, first - model.context), min(len(times.numbers), last + model.context)
        months = None if times.months is None else times.months[low:high]
        result = run(
            [array[low:high] for array in arrays], layouts, model, months, times.linked[low : high - 1],
            range(first - low, last - low), options, mask[first:last] if mask is not None and len(mask) > 1 else mask,
        )  # fmt: skip
        for part, made, dtype in zip(parts, result, (None, np.int8, np.float32), strict=True):
            for number, array in enumerate(arrays):
                shape = (last - first, *array.shape[1:])
                part[number].append(da.from_delayed(made[number], shape, dtype or array.dtype))
    values, flags, errors = ([da.concatenate(each) for each in part] for part in parts)
    return values, flags, errors


class _Accessor:
    """``data.pconv.fill(model)``: ``fill`` as a method of DataArrays and Datasets."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def fill(self, model: GridModel | str | Path, **options: Any) -> Any:
        """``pconv.grid.fill`` of this object."""
        return fill(self._data, model, **options)


for _register in (xr.register_dataarray_accessor, xr.register_dataset_accessor):
    _register("pconv")(_Accessor)  # type: ignore[no-untyped-call]
