"""Gaps in gridded data: NetCDF or xarray in, the same out, with a model trained on the data itself.

    >>> import xarray, pconv.grid
    >>> air = xarray.open_dataset("air.nc")
    >>> filled = pconv.grid.fill(air, "runs/tas")      # or air.pconv.fill("runs/tas")

Importing this module gives xarray's objects the accessor ``pconv``.
"""

from pconv.grid.arrays import fill
from pconv.grid.model import GridModel, load_model

__all__ = ["GridModel", "fill", "load_model"]
