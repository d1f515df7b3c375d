"""Dilation, against the distances from every pixel to every pixel of the mask."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import some_hole

from pconv.masks.morphology import dilate


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 200),
    radius=st.sampled_from([0, 0.5, 1, 1.5, 4, 6.5, 24, 40]),
    square=st.booleans(),
    share=st.sampled_from([0.0, 0.001, 0.02, 0.5, 1.0]),
    seed=st.integers(0, 999),
)
def test_dilation_adds_all_that_is_near(height, width, radius, square, share, seed):
    mask = some_hole(height, width, seed, share)
    before = mask.copy()
    result = dilate(mask, radius, square)
    rows, columns = np.mgrid[:height, :width]
    expected = np.zeros((height, width), bool)
    for row, column in np.argwhere(mask):
        y, x = np.abs(rows - row), np.abs(columns - column)
        expected |= np.maximum(y, x) <= radius if square else y**2 + x**2 <= radius**2
    assert np.array_equal(result, expected)
    assert np.array_equal(mask, before)
