"""The one table of what counts as missing, and how values are packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pconv.errors import InputError

KINDS = ("NaN", "_FillValue", "missing_value", "valid_range", "--missing")
"""In this order: a cell counts for the first kind that it is."""

_DEFAULT_FILL = {"f4": 9.969209968386869e36, "f8": 9.969209968386869e36}
"""What the netCDF library writes into cells that were never written."""
_WIDER = {"i1": "i2", "u1": "i2", "i2": "i4", "u2": "i4", "i4": "f8", "u4": "f8", "i8": "f8", "u8": "f8"}


@dataclass(frozen=True)
class Packing:
    """How a variable's numbers are stored, and which of them mean missing.

    Attributes:
        dtype: of the stored numbers.
        scale, offset: ``value = stored * scale + offset``.
        attributes: the variable's, as stored.
        named: a value that the user named as missing, as it is shown (unpacked) or stored.
    """

    dtype: np.dtype[Any]
    scale: float
    offset: float
    attributes: Mapping[str, Any]
    named: float | None = None

    def decode(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Values with NaN where missing, and how many cells are missing, by kind."""
        stored = self._signed(np.asarray(stored))
        values = stored.astype(np.float64)
        if self.packed:
            values = values * self.scale + self.offset
        missing = np.zeros(stored.shape, dtype=bool)
        counts = {}
        for kind, hits in self._kinds(stored, values):
            new = hits & ~missing
            counts[kind] = int(new.sum())
            missing |= new
        return np.where(missing, np.nan, values).astype(np.float32), counts

    @property
    def packed(self) -> bool:
        return "scale_factor" in self.attributes or "add_offset" in self.attributes

    def _signed(self, stored: NDArray[Any]) -> NDArray[Any]:
        unsigned = str(self.attributes.get("_Unsigned", "")).lower() == "true"
        return stored.view(f"u{stored.dtype.itemsize}") if unsigned and stored.dtype.kind == "i" else stored

    def _kinds(self, stored: NDArray[Any], values: NDArray[np.float64]) -> list[tuple[str, NDArray[np.bool_]]]:
        kinds = [("NaN", ~np.isfinite(values))]
        fill = self.attributes.get("_FillValue", _DEFAULT_FILL.get(self.dtype.str[1:]))
        for kind, codes in (("_FillValue", fill), ("missing_value", self.attributes.get("missing_value"))):
            if codes is not None:
                codes = self._signed(np.atleast_1d(np.asarray(codes)).astype(self.dtype))
                kinds.append((kind, np.isin(stored, codes)))
        low, high, of_stored = self.valid_range()
        tested = stored if of_stored else values
        with np.errstate(invalid="ignore"):
            kinds.append(("valid_range", (tested < low) | (tested > high)))
        if self.named is not None:
            kinds.append(("--missing", np.isclose(values, self.named, rtol=1e-6, atol=0) | (stored == self.named)))
        return kinds

    def valid_range(self) -> tuple[float, float, bool]:
        """Lowest and highest valid value, and whether they are stored numbers (CF: where they have their type)."""
        low, high, of_stored = -np.inf, np.inf, True
        both = self.attributes.get("valid_range")
        for name, at in (("valid_min", 0), ("valid_max", 1)):
            limit = np.asarray(both)[at] if both is not None and np.size(both) == 2 else self.attributes.get(name)
            if limit is None:
                continue
            limit = np.asarray(limit)
            of_stored = self.dtype.kind == "f" or limit.dtype.kind != "f"
            number = float(self._signed(limit.astype(self.dtype)) if of_stored else limit)
            low, high = (number, high) if at == 0 else (low, number)
        return low, high, of_stored

    def encode(self, values: NDArray[Any]) -> tuple[NDArray[Any], bool]:
        """Stored numbers for filled values, and whether all fit the type.

        What lies outside valid_range is moved to its nearest limit, or it would be read as missing. A number that
        means missing is moved by one.
        """
        numbers = np.asarray(values, dtype=np.float64)
        low, high, of_stored = self.valid_range()
        if not of_stored:
            numbers = numbers.clip(low, high)
        if self.packed:
            numbers = (numbers - self.offset) / self.scale
        if of_stored:
            numbers = numbers.clip(low, high)
        if self.dtype.kind == "f":
            return numbers.astype(self.dtype), True
        numbers = np.rint(numbers)
        kind = self._signed(np.zeros(1, self.dtype)).dtype
        fits = bool(((numbers >= np.iinfo(kind).min) & (numbers <= np.iinfo(kind).max)).all())
        for name in ("_FillValue", "missing_value"):
            if name in self.attributes:
                codes = self._signed(np.atleast_1d(np.asarray(self.attributes[name])).astype(self.dtype))
                step = np.where(codes.astype(float)[0] > 0, -1, 1)
                numbers = np.where(np.isin(numbers, codes.astype(float)), numbers + step, numbers)
        return numbers.clip(np.iinfo(kind).min, np.iinfo(kind).max).astype(kind).view(self.dtype), fits

    @property
    def wider(self) -> np.dtype[Any]:
        """The next larger type."""
        return np.dtype(_WIDER[self.dtype.str[1:]])


def read_packing(name: str, dtype: np.dtype[Any], attributes: Mapping[str, Any], named: float | None) -> Packing:
    """The packing of a variable.

    Raises:
        InputError: it holds text, or whole numbers that nothing unpacks.
    """
    dtype = np.dtype(dtype)
    packed = "scale_factor" in attributes or "add_offset" in attributes
    if dtype.kind not in "fiu":
        raise InputError(f"{name} does not hold numbers")
    if dtype.kind in "iu" and not packed:
        raise InputError(
            f"{name} holds whole numbers ({dtype}) without scale_factor or add_offset, so fills would be rounded; "
            "store it as floating-point numbers first"
        )
    scale = float(np.asarray(attributes.get("scale_factor", 1)).item())
    offset = float(np.asarray(attributes.get("add_offset", 0)).item())
    return Packing(dtype, scale, offset, dict(attributes), named)


def constant_cells(first: NDArray[Any], same: NDArray[np.bool_]) -> tuple[float, int] | None:
    """A value that covers the same cells in every step, as 0 on land, with their number; None if there is none.

    Args:
        first: ``(H, W)``, the first step.
        same: ``(H, W)``, where every step has the first one's value.
    """
    values, counts = np.unique(first[same & np.isfinite(first)], return_counts=True)
    if not len(values) or counts.max() < max(4, first.size / 200):
        return None
    return float(values[counts.argmax()]), int(counts.max())
