"""Holes that are wider than the network sees."""

import numpy as np
import torch
import torch.nn.functional as F

from pconv.filling.wide import fill_wide, halved


def test_half_the_size_is_the_mean_of_what_is_known():
    picture = np.arange(15, dtype=np.float32).reshape(1, 3, 5)
    hole = np.zeros((3, 5), bool)
    hole[0, 0] = hole[0:2, 2:4] = hole[2, 4] = True
    smaller, smaller_hole = halved(np.where(hole, np.nan, picture), hole)
    assert smaller_hole.tolist() == [[False, True, False], [False, False, True]]
    assert smaller[0].tolist() == [[(1 + 5 + 6) / 3, 0, (4 + 9) / 2], [10.5, 12.5, 0]]


def test_the_middle_of_a_very_wide_hole_comes_from_a_smaller_picture(inpainter):
    picture = np.full((3, 400, 399), 0.2, np.float32)
    picture[:, :, 200:] = 0.7
    hole = np.zeros((400, 399), bool)
    hole[10:390, 10:390] = True
    alone, reached = (x[0] for x in inpainter.backend.fill(picture[None], hole[None, None]))
    filled = fill_wide(inpainter.backend, picture, hole)
    beyond = np.broadcast_to(~reached, alone.shape)
    assert beyond.any()  # a tiny network alone leaves a constant here
    assert alone[beyond].std() < 1e-6
    assert np.array_equal(filled[~beyond], alone[~beyond])
    assert filled[beyond].std() > 0

    coarse = fill_wide(inpainter.backend, *halved(picture, hole))
    larger = F.interpolate(torch.tensor(coarse)[None], size=(400, 399), mode="bilinear")[0].numpy()
    assert np.abs(filled - larger)[beyond].max() < 2e-3  # Pillow's bilinear scales an odd side a little otherwise
