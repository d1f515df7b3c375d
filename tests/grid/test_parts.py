"""Axes, packing, masks, statistics, blocks of time, the network's halo: without any training."""

import numpy as np
import pytest
import torch

from pconv.errors import InputError
from pconv.grid import gaps, normalise
from pconv.grid.axes import find_axes, make_grid
from pconv.grid.domain import cell_areas, distance_to_known, large_gaps, long_gaps
from pconv.grid.error_table import ErrorMeter
from pconv.grid.missing import constant_cells, read_packing
from pconv.grid.model import neighbours
from pconv.grid.network import choose_config, halo, receptive_field, wrap
from pconv.grid.samples import split_blocks
from pconv.grid.times import read_times
from pconv.nn.unet import PConvUNet


@pytest.mark.parametrize(
    ("coordinates", "dims"),
    [
        ({"a": {"axis": "X"}, "b": {"axis": "T"}, "c": {"axis": "Y"}}, ("b", "c", "a")),
        (
            {"a": {"standard_name": "longitude"}, "b": {"standard_name": "time"}, "c": {"standard_name": "latitude"}},
            "bca",
        ),
        (
            {"a": {"units": "degrees East"}, "b": {"units": "hours since 1970-01-01"}, "c": {"units": "degree_north"}},
            "bca",
        ),
        ({"x": {}, "time": {}, "y": {}}, ("time", "y", "x")),
        ({"lon": {}, "lat": {}, "height": {}}, ("", "lat", "lon")),
    ],
)
def test_axes_are_found_by_the_cf_conventions(coordinates, dims):
    found = find_axes("tas", tuple(coordinates), coordinates)
    assert (found.time, found.y, found.x) == tuple(dims)


def test_axes_can_be_named_and_are_asked_for_where_unknown():
    assert find_axes("tas", ("p", "q", "r"), {}, ("r", "p", "q")).time == "r"
    with pytest.raises(InputError, match="use --dims"):
        find_axes("tas", ("p", "q", "r"), {})


LAT, LON = np.linspace(-85, 85, 18), np.arange(0, 360, 10.0)


@pytest.mark.parametrize(
    ("lat", "lon", "periodic"),
    [
        (LAT, LON, True),
        (LAT[::-1], LON - 180, True),
        (LAT, np.roll(LON, 5), True),
        (LAT, np.where(LON > 180, LON - 360, LON), True),
        (LAT, np.append(LON, 360), True),
        (LAT, LON[::-1], True),
        (LAT[3:9], LON[5:20] - 360, False),
        (LAT, (LON[:10] + 330) % 360, False),
    ],
)
def test_a_grid_turns_arrays_and_turns_them_back(lat, lon, periodic):
    field = np.sin(np.deg2rad(lat))[:, None] + 10 * np.cos(np.deg2rad(lon) - 1)[None]
    grid = make_grid(lat, lon, (len(lat), len(lon)), degrees=True)
    assert grid.periodic == periodic
    assert (np.diff(grid.y) > 0).all()
    assert (np.diff(grid.x) > 0).all()
    assert -1 <= grid.x[0] < 360
    inside = grid.inside(field)
    assert inside == pytest.approx(np.sin(np.deg2rad(grid.y))[:, None] + 10 * np.cos(np.deg2rad(grid.x) - 1)[None])
    assert grid.outside(inside) == pytest.approx(field)


def test_grids_match_within_a_share_of_their_step():
    grid = make_grid(LAT, LON, (18, 36), True)
    assert grid.mismatch(LAT + 0.4, LON - 0.4) is None
    assert "x is 0 to 350" in grid.mismatch(LAT, LON + 5)
    assert "18 x 36 cells" in grid.mismatch(LAT[1:], LON)


def test_irregular_and_curvilinear_grids_need_no_area():
    with pytest.raises(InputError, match="irregular"):
        make_grid(LAT**3, LON, (18, 36), True)
    with pytest.raises(InputError, match="curvilinear"):
        make_grid(None, None, (18, 36), True)
    assert make_grid(None, None, (18, 36), True, area=False).shape == (18, 36)
    gaussian = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(18)[0]))
    assert make_grid(gaussian, LON, (18, 36), True).shape == (18, 36)


def test_area_is_the_cosine_of_the_latitude():
    grid = make_grid(np.array([0.0, 30, 60]), LON, (3, 36), True)
    assert grid.area[:, 0] / grid.area[0, 0] == pytest.approx([1, np.sqrt(3) / 2, 0.5], rel=1e-5)
    assert grid.area.mean() == pytest.approx(1)
    whole = make_grid(np.arange(-89.5, 90), np.arange(0.5, 360), (180, 360), True)
    assert cell_areas(whole).sum() == pytest.approx(4 * np.pi * 6371**2, rel=1e-3)


def test_packed_values_come_back_as_the_same_numbers():
    packing = read_packing(
        "t", np.dtype("i2"), {"scale_factor": 0.01, "add_offset": 250.0, "_FillValue": np.int16(-1)}, None
    )
    stored = np.arange(-3000, 3000, dtype=np.int16)
    values, counts = packing.decode(stored)
    assert counts["_FillValue"] == 1
    known = np.isfinite(values)
    assert np.array_equal(packing.encode(values[known])[0], stored[known])
    numbers, fits = packing.encode(np.array([249.99, 1000.0]))
    assert numbers[0] == 0  # not -1, which means missing
    assert not fits


def test_valid_range_is_of_stored_numbers_where_it_has_their_type():
    attributes = {"scale_factor": 0.1, "valid_range": np.array([0, 100], np.int16)}
    values, counts = read_packing("t", np.dtype("i2"), attributes, None).decode(np.array([-1, 0, 100, 101], np.int16))
    assert counts["valid_range"] == 2
    assert values[1:3] == pytest.approx([0, 10])
    attributes["valid_range"] = np.array([0.0, 100.0])
    assert (
        read_packing("t", np.dtype("i2"), attributes, None).decode(np.array([1001], np.int16))[1]["valid_range"] == 1
    )


def test_whole_numbers_that_nothing_unpacks_are_refused():
    with pytest.raises(InputError, match="whole numbers"):
        read_packing("t", np.dtype("i4"), {}, None)
    unsigned = {"scale_factor": 1.0, "_Unsigned": "true", "_FillValue": np.int8(-1)}
    values, counts = read_packing("t", np.dtype("i1"), unsigned, None).decode(np.array([-1, -2], np.int8))
    assert counts["_FillValue"] == 1
    assert values[1] == 254


def test_constant_cells():
    first = np.random.default_rng(0).random((20, 20))
    first[:5] = 0
    assert constant_cells(first, first == 0) == (0, 100)
    assert constant_cells(first, np.zeros_like(first, bool)) is None


def test_long_gaps_are_runs_of_missing_steps():
    missing = np.array([0, 1, 1, 0, 1, 1, 1], bool)[:, None]
    assert long_gaps(missing, 2)[:, 0].tolist() == [False, False, False, False, True, True, True]
    assert not long_gaps(missing, 3).any()
    assert np.array_equal(long_gaps(missing, 0), missing)


def test_large_gaps_join_across_the_edge_of_a_periodic_grid():
    gap = np.zeros((4, 6), bool)
    gap[1, [0, 5]] = gap[3, 2] = True
    plain = make_grid(None, None, (4, 6), False, area=False)
    assert not large_gaps(gap, plain, 1).any()
    periodic = make_grid(None, None, (4, 6), False, area=False, periodic=True)
    assert large_gaps(gap, periodic, 1).sum() == 2


def test_distance_goes_round_the_globe():
    known = np.zeros((1, 3, 10), bool)
    known[..., 0] = True
    assert distance_to_known(known, True)[0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1]
    assert distance_to_known(known, False)[0, 0, -1] == 9
    assert np.isinf(distance_to_known(np.zeros((1, 3, 10), bool), True)).all()


def test_normalisation_is_undone():
    values = np.random.default_rng(0).normal(5, 2, (36, 2, 4, 5)).astype(np.float32)
    values[values > 8] = np.nan
    months = np.arange(36) % 12 + 1
    area = np.ones((4, 5), np.float32)
    for found in (normalise.plain(values, area), normalise.anomalies(values, months, area)):
        normal = found.normal(values, months)
        assert np.nanstd(normal[:, 0]) == pytest.approx(1, rel=0.05)
        assert np.allclose(found.physical(normal, months), values, equal_nan=True, atol=1e-4)


def test_the_climatology_is_the_mean_of_each_month():
    months = np.repeat(np.arange(1, 13), 20)
    cycle = np.arange(12.0)[months - 1]
    values = np.broadcast_to(cycle[:, None, None, None] + np.arange(4)[None, None, :, None], (240, 1, 4, 5))
    found = normalise.anomalies(values.astype(np.float32), months, np.ones((4, 5), np.float32))
    assert found.climatology[:, 0, 0, 0] == pytest.approx(np.arange(12), abs=1e-4)
    assert found.climatology[3, 0, :, 0] == pytest.approx(3 + np.arange(4), abs=1e-4)


def test_steps_are_held_out_as_blocks_with_room_for_context():
    split = split_blocks(240, context=2)
    assert len(split.validation) == len(split.calibration) == 24
    held = np.concatenate([split.validation, split.calibration])
    assert np.abs(split.train[:, None] - held[None]).min() == 3
    assert (np.diff(split.validation) == 1).sum() >= 20
    assert "never as random steps" in split.sentence()
    assert len(split_blocks(10, 0).train) == 8
    assert len(split_blocks(3, 0).train) == 3


def test_neighbours_end_at_a_jump_in_time():
    linked = np.array([True, False, True])
    index, usable = neighbours(linked, [1, 3], 1)
    assert index.tolist() == [[1, 0, 2], [3, 2, 3]]
    assert usable.tolist() == [[True, True, False], [True, True, False]]


def test_months_of_other_calendars():
    times = read_times(np.array([15, 45, 345]), "days since 2000-01-01", "360_day")
    assert times.months.tolist() == [1, 2, 12]
    assert times.linked.tolist() == [True, False]
    assert read_times(np.arange(3), "", "standard").months is None


@pytest.mark.parametrize("shape", [(8, 16), (37, 49), (64, 64)])
def test_the_receptive_field_is_no_smaller_than_the_network_looks(shape):
    torch.manual_seed(0)
    config = choose_config(shape, 1, 0.25)
    network = PConvUNet(config).eval()
    width = 2 * receptive_field(config) + 65
    image = torch.randn(1, 1, 32, width)
    valid = torch.rand(1, 1, 32, width) < 0.3
    other = image.clone()
    other[..., 0], valid[..., 0] = other[..., 0] + 9, True
    with torch.no_grad():
        changed = (network(image, valid) != network(other, valid)).any(2).flatten().nonzero().max()
    assert changed <= receptive_field(config)
    assert halo(config) >= receptive_field(config)
    assert halo(config) % config.multiple == 0


def test_wrapping_goes_round_as_often_as_it_takes():
    assert wrap(torch.arange(3), 4).tolist() == [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("kind", gaps.KINDS)
@pytest.mark.parametrize("shape", [(7, 9), (37, 72)])
def test_made_gaps_hide_some_cells(kind, shape):
    random = np.random.default_rng(0)
    shares = [kind(random, shape, 3, True).mean() for _ in range(50)]
    assert 0.1 < np.mean(shares) < 0.95


def test_own_gaps_are_those_of_the_data():
    missing = np.random.default_rng(0).random((9, 1, 5, 6)) < 0.3
    draw = gaps.own_gaps(missing, np.ones((1, 5, 6), bool), 3, shift=False)
    drawn = draw(np.random.default_rng(1))
    assert any(np.array_equal(drawn, missing[t : t + 3]) for t in range(7)) or drawn.shape == (3, 1, 5, 6)
    assert not gaps.has_own_gaps(np.zeros_like(missing), np.ones((1, 5, 6), bool))


def test_the_error_table_knows_distance_and_place():
    random = np.random.default_rng(0)
    distance = np.broadcast_to(np.linspace(1, 20, 40).astype(np.float32), (60, 1, 30, 40))
    true_size = distance * np.where(np.arange(30) < 15, 0.5, 1.5)[:, None]
    error = (random.standard_normal(distance.shape) * true_size).astype(np.float32)
    meter = ErrorMeter(1, (30, 40))
    meter.add(error, np.ones(error.shape, bool), distance)
    table = meter.table()
    assert (np.diff(table.by_distance[0]) >= 0).all()
    expected = table.errors(distance)
    assert expected[0, 0, 3, 20] == pytest.approx(true_size[0, 0, 3, 20], rel=0.25)
    assert expected[0, 0, 25, 20] == pytest.approx(true_size[0, 0, 25, 20], rel=0.25)
    assert (np.abs(error) <= expected).mean() == pytest.approx(0.7, abs=0.06)
