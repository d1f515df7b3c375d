import numpy as np
import pytest

from pconv import superres_input
from pconv.errors import InputError


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_each_pixel_goes_where_the_paper_says(factor):
    small = np.random.default_rng(0).integers(1, 256, (3, 5, 3), dtype=np.uint8)
    image, hole = superres_input(small, factor)
    assert image.shape == (3 * factor, 5 * factor, 3)
    assert hole.shape == image.shape[:2]
    for y in range(3):
        for x in range(5):
            place = factor * y + factor // 2, factor * x + factor // 2
            assert not hole[place]
            assert np.array_equal(image[place], small[y, x])
    assert np.count_nonzero(~hole) == 15
    assert not image[hole].any()


def test_one_channel_and_other_dtypes():
    image, hole = superres_input(np.ones((2, 2), np.float32), 2)
    assert image.dtype == np.float32
    assert np.array_equal(image == 0, hole)


@pytest.mark.parametrize("factor", [1, 5, 2.0, 2.5, "2"])
def test_other_factors_are_refused(factor):
    with pytest.raises(InputError, match=f"must be one of 2, 3, 4; got {factor!r}"):
        superres_input(np.ones((2, 2)), factor)
