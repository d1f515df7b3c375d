"""What holds for every step behind the network, and pictures to try it on."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def noise_with_holes(draw):
    """Noise ``(C, H, W)`` in 0..1, some of it grey, and a hole of single pixels ``(H, W)``."""
    height, width, channels = draw(st.integers(1, 90)), draw(st.integers(1, 90)), draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    hole = generator.random((height, width)) < draw(st.sampled_from([0.0, 0.002, 0.02, 0.5, 0.98, 1.0]))
    picture = generator.random((channels, height, width), dtype=np.float32)
    if draw(st.booleans()):
        picture[:, hole] = 0.5
    return picture, hole


def check_known_pixels_stay(step, picture, hole):
    """``step(picture, hole)`` changes the hole alone, stays in range, leaves its input and is the same each time."""
    before = picture.copy()
    result = step(picture, hole)
    assert np.array_equal(picture, before)
    assert np.array_equal(result[:, ~hole], picture[:, ~hole])
    assert result.min() >= 0
    assert result.max() <= 1
    assert np.array_equal(result, step(picture, hole))
