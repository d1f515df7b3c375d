"""What the tests of the grid room share; skipped where its packages are not installed."""

import numpy as np
import pytest

pytest.importorskip("netCDF4")
pytest.importorskip("xarray")

from grid_data import field, gaps, make_model


@pytest.fixture(scope="session")
def truth():
    return field().astype(np.float32)


@pytest.fixture(scope="session")
def gappy(truth):
    return np.where(gaps(truth.shape), np.nan, truth)


@pytest.fixture(scope="session")
def model(tmp_path_factory, gappy):
    """Trained for a few steps on ``gappy``, which is periodic."""
    return make_model(tmp_path_factory.mktemp("model"), gappy)
