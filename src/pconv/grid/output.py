"""Writing filled NetCDF files: a copy of the input in which only filled cells, and what describes them, are new."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from pconv.errors import InputError
from pconv.files import replacing
from pconv.grid.domain import long_gaps
from pconv.grid.fill import Filled, FillOptions, fill_block
from pconv.grid.masks import StepMask
from pconv.grid.model import GridModel
from pconv.grid.series import FileVariable, Series

Note = Callable[[str], None]


class Totals:
    """Counts of cells over all steps, for one variable."""

    def __init__(self) -> None:
        self.filled = self.outside = self.refused = self.missing = 0


def fill_files(
    series: Series,
    model: GridModel,
    targets: Sequence[Path],
    options: FillOptions,
    command: str,
    mask: StepMask | None = None,
    note: Note = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Totals]:
    """Fill a series into one file for each of its files.

    Args:
        targets: in the order of ``series.paths``.
        command: for the files' history.
        mask: where filling is allowed, instead of the model's domain.
        note: is told what people should know.
        advance: is told how many steps were filled.

    Raises:
        InputError: the model is for other data, or a file was filled before.
        OSError: a target cannot be written.
    """
    units = {n: str(a.get("units", "")) for n, a in zip(series.variables, series.attributes, strict=True)}
    model.check(series.grid, units, str(series.paths[0]))
    for path, file in zip(series.paths, series.files, strict=True):
        for name in (f"{v}_{what}" for v in series.variables for what in ("filled", "error")):
            if name in file.variables:
                raise InputError(f"{path} holds {name} already, so it was filled before; give the original file")
    too_long = None
    if options.limits.max_gap is not None:
        missing = series.scan(keep_missing=True).missing
        assert missing is not None
        too_long = long_gaps(missing, options.limits.max_gap)
    totals = {name: Totals() for name in series.variables}
    empty = 0
    places = {place: number for number, place in enumerate(series.places)}
    for number, target in enumerate(targets):
        with replacing(target) as temporary:
            shutil.copyfile(series.paths[number], temporary)
            writer = _Writer(temporary, series, number, model, command, note)
            try:
                own = [places[number, step] for step in range(sum(file == number for file, _ in series.places))]
                size = max(1, 4_000_000 // (len(series.variables) * np.prod(series.grid.shape, dtype=int)))
                for start in range(0, len(own), size):
                    steps = own[start : start + size]
                    first, last = max(0, min(steps) - model.context), min(len(series), max(steps) + model.context + 1)
                    values, _ = series.read(first, last)
                    months = None if series.times.months is None else series.times.months[first:last]
                    block = fill_block(
                        model, values, months, series.times.linked[first : last - 1], [s - first for s in steps],
                        options, mask.steps(steps) if mask else None, None if too_long is None else too_long[steps],
                    )  # fmt: skip
                    writer.write(start, block, totals)
                    empty += block.empty_steps
                    advance(len(steps))
            finally:
                writer.close()
            if writer.path != temporary:
                writer.path.replace(temporary)
    if empty:
        note(f"{empty} steps stay missing: nothing is known in them{' or beside them' if model.context else ''}")
    return totals


class _Writer:
    """One output file, a copy of its input, open for changes."""

    def __init__(self, path: Path, series: Series, number: int, model: GridModel, command: str, note: Note) -> None:
        self.path, self.grid, self.note = path, series.grids[number], note
        self.content = list(series.contents[number])
        self.file = _open(path)
        for variable in self.content:
            self._add(variable, model)
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: {command}"
        before = str(getattr(self.file, "history", ""))
        self.file.setncattr("history", f"{before}\n{line}" if before else line)
        self.file.setncattr("pconv_model_sha256", model.sha256)

    def _add(self, variable: FileVariable, model: GridModel) -> None:
        name, source = variable.name, self.file[variable.name]
        settings = _settings(source)
        attributes = {a: source.getncattr(a) for a in source.ncattrs()}
        flags = self.file.createVariable(f"{name}_filled", "i1", source.dimensions, fill_value=False, **settings)
        flags.setncatts(
            {
                "long_name": f"whether {name} was filled",
                "standard_name": "status_flag",
                "flag_values": np.array([0, 1], np.int8),
                "flag_meanings": "not_filled filled",
                "model_sha256": model.sha256,
            }
        )
        error = self.file.createVariable(
            f"{name}_error", "f4", source.dimensions, fill_value=np.float32(np.nan), **settings
        )
        texts = {"long_name": f"expected error of {name}, root mean square; 0 where it was observed"}
        if "units" in attributes:
            texts["units"] = attributes["units"]
        if "standard_name" in attributes:
            texts["standard_name"] = f"{attributes['standard_name']} standard_error"
        for each in ("coordinates", "grid_mapping"):
            if each in attributes:
                texts[each] = attributes[each]
                flags.setncattr(each, attributes[each])
        error.setncatts(texts)
        before = str(attributes.get("ancillary_variables", "")).split()
        source.setncattr("ancillary_variables", " ".join([*before, flags.name, error.name]))

    def write(self, start: int, block: Filled, totals: dict[str, Totals]) -> None:
        """Put the block's steps into the file from its step ``start`` on."""
        for number in range(len(self.content)):
            variable = self.content[number]
            at = variable.index(start, start + len(block.values))
            stored = self.file[variable.name][at]
            missing = np.isnan(variable.to_steps(variable.packing.decode(stored)[0]))
            values = self.grid.outside(block.values[:, number])
            put = missing & np.isfinite(values)
            numbers, fits = variable.packing.encode(values[put])
            while not fits:
                variable = self._widen(number)
                stored = stored.astype(variable.packing.dtype)
                numbers, fits = variable.packing.encode(values[put])
            steps = np.array(variable.to_steps(stored))
            steps[put] = numbers
            flags, error = put.astype(np.int8), self.grid.outside(block.error[:, number])
            for suffix, array in (("", steps), ("_filled", flags), ("_error", error)):
                self.file[variable.name + suffix][at] = variable.from_steps(array, stored.shape)
            total = totals[variable.name]
            total.filled += int(put.sum())
            total.missing += int((missing & ~put).sum())
            total.outside += int(self.grid.outside(block.outside[:, number]).sum())
            total.refused += int(self.grid.outside(block.refused[:, number]).sum())

    def _widen(self, number: int) -> FileVariable:
        """Store a variable in a larger type: netCDF cannot change one in place, so the file is written anew."""
        variable = self.content[number]
        wider = variable.packing.wider
        self.note(
            f"{variable.name} is stored as {wider} instead of {variable.packing.dtype}: filled values do not fit"
        )
        self.file.close()
        other = self.path.with_name(f"{self.path.stem}-wider{self.path.suffix}")
        try:
            rewrite(self.path, other, variable.name, wider)
            other.replace(self.path)
        finally:
            other.unlink(missing_ok=True)
        self.file = _open(self.path)
        attributes = {a: self.file[variable.name].getncattr(a) for a in self.file[variable.name].ncattrs()}
        attributes.pop("_Unsigned", None)
        packing = replace(variable.packing, dtype=wider, attributes=attributes)
        self.content[number] = replace(variable, packing=packing)
        return self.content[number]

    def close(self) -> None:
        with suppress(RuntimeError):  # closed already
            self.file.close()


def _open(path: Path) -> netCDF4.Dataset:
    file = netCDF4.Dataset(path, "r+")
    file.set_auto_maskandscale(False)
    file.set_always_mask(False)
    return file


def _settings(variable: Any) -> dict[str, Any]:
    """Chunks and compression of a variable, for those beside it."""
    filters, chunks = variable.filters() or {}, variable.chunking()
    settings: dict[str, Any] = {}
    if filters.get("zlib"):
        settings = {"zlib": True, "complevel": filters.get("complevel", 4), "shuffle": filters.get("shuffle", True)}
    if isinstance(chunks, list):
        settings["chunksizes"] = chunks
    return settings


_CODES = ("_FillValue", "missing_value", "valid_min", "valid_max", "valid_range")


def rewrite(source: Path, target: Path, name: str, dtype: np.dtype[Any]) -> None:
    """Copy a NetCDF file with one variable in another type; all else stays as it is.

    Raises:
        InputError: the file has groups or types of its own, which this does not copy.
    """
    with netCDF4.Dataset(source) as old:
        old.set_auto_maskandscale(False)
        if old.groups or old.cmptypes or old.vltypes or old.enumtypes:
            raise InputError(f"{name} must be stored in a larger type, and {source} has groups; unpack {name} first")
        with netCDF4.Dataset(target, "w", format=old.data_model) as new:
            new.set_auto_maskandscale(False)
            new.setncatts({a: old.getncattr(a) for a in old.ncattrs()})
            for dim, size in old.dimensions.items():
                new.createDimension(dim, None if size.isunlimited() else len(size))
            for each, variable in old.variables.items():
                unsigned = variable.dtype if each != name else dtype
                attributes = {a: variable.getncattr(a) for a in variable.ncattrs()}
                if each == name:
                    was_unsigned = str(attributes.pop("_Unsigned", "")).lower() == "true"
                    for code in _CODES:
                        if code in attributes and np.asarray(attributes[code]).dtype == variable.dtype:
                            number = np.asarray(attributes[code])
                            number = number.view(f"u{number.itemsize}") if was_unsigned else number
                            attributes[code] = number.astype(dtype)
                settings = _settings(variable)
                fill = attributes.pop("_FillValue", False)
                made = new.createVariable(each, unsigned, variable.dimensions, fill_value=fill, **settings)
                made.setncatts(attributes)
                for step in range(variable.shape[0]) if variable.ndim > 1 else [...]:
                    numbers = variable[step]
                    if each == name and was_unsigned:
                        numbers = numbers.view(f"u{numbers.dtype.itemsize}")
                    made[step] = numbers
