import math

import numpy as np
import pytest

from pconv.evaluation.statistics import Estimate, estimate, verdict


def test_an_interval_is_the_bootstraps():
    values = np.random.default_rng(1).normal(10, 2, 400)
    found = estimate(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.number == 400
    half = 1.96 * values.std() / math.sqrt(400)  # what the bootstrap comes to for a mean of many
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)
    assert estimate(values) == found


def test_cells_count_alike_however_many_values_they_have():
    found = estimate([1.0] * 5, [3.0] * 50)
    assert (found.mean, found.low, found.high, found.number) == (2, 2, 2, 55)


def test_values_that_are_not_finite_are_left_out():
    assert estimate([1.0, math.nan, 2, 3, 4, 5, math.inf]).number == 5


def test_too_few_values_have_no_interval_and_none_have_no_mean():
    few = estimate([1.0, 2, 3, 4], [5.0] * 20)
    assert few.mean == 3.75
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    for none in (estimate(), estimate([]), estimate([1.0] * 9, [])):
        assert math.isnan(none.mean)


def test_better_means_that_zero_is_outside_of_the_interval():
    assert verdict(Estimate(1, 0.5, 1.5, 9), higher_is_better=True) == "better"
    assert verdict(Estimate(1, 0.5, 1.5, 9), higher_is_better=False) == "worse"
    assert verdict(Estimate(-1, -1.5, -0.5, 9), higher_is_better=True) == "worse"
    assert verdict(Estimate(1, -0.1, 1.5, 9), higher_is_better=True) == "undecided"
    assert verdict(Estimate(1, math.nan, math.nan, 2), higher_is_better=True) == "undecided"
