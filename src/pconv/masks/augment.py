"""The authors' augmentation of masks: dilation, rotation, translation, crop (Liu et al., section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pconv.errors import InputError
from pconv.masks.morphology import dilate
from pconv.masks.reader import Hole, read_mask

DILATION = 9, 49
"""Smallest and largest diameter in px of the disc that holes are dilated with."""

BINARISE_AT = 0.6
"""Part of the value range from which raw masks of optical flow are white (Liu et al., section 4)."""

_TRIES = 100
_CACHE_BYTES = 256 * 2**20


def augmented_mask(mask: Hole, height: int, width: int, *, generator: np.random.Generator) -> Hole:
    """A crop of a mask, rotated, translated and dilated at random.

    The crop has the mask's own scale, any angle, and its centre anywhere in the mask. A mask that is smaller than the
    crop is enlarged first. What lies outside of the mask is valid. Then holes are dilated by a disc of 9 to 49 px
    diameter, those just outside of the crop too.

    Args:
        mask: ``(h, w)`` bool, True = hole.
        height, width: of the crop, px.
        generator: source of randomness.

    Returns:
        ``(height, width)`` bool, True = hole.
    """
    import cv2

    angle = generator.uniform(0, 2 * math.pi)
    radius = int(generator.integers(DILATION[0], DILATION[1] + 1)) / 2 - 0.5
    at_y, at_x = generator.uniform(0, mask.shape[0]), generator.uniform(0, mask.shape[1])
    scale = min(1.0, mask.shape[0] / height, mask.shape[1] / width)

    margin = math.ceil(radius)
    rows, columns = height + 2 * margin, width + 2 * margin
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    to_mask = np.array(
        [
            [cos, -sin, at_x - cos * columns / 2 + sin * rows / 2],
            [sin, cos, at_y - sin * columns / 2 - cos * rows / 2],
        ]
    )
    crop = cv2.warpAffine(
        mask.astype(np.uint8), to_mask, (columns, rows), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    return dilate(crop.astype(bool), radius)[margin : margin + height, margin : margin + width]


class MaskFolder:
    """Draws masks for training from a folder of mask files.

    Args:
        paths: the files, see ``pconv.masks.reader.find_masks``.
        white_is_hole: their polarity.
    """

    def __init__(self, paths: Sequence[Path], white_is_hole: bool) -> None:
        self.paths = list(paths)
        self.white_is_hole = white_is_hole
        self._packed: dict[int, tuple[NDArray[np.uint8], tuple[int, int]]] = {}
        self._cache_left = _CACHE_BYTES

    def draw(
        self, height: int, width: int, ratio: tuple[float, float] = (0.01, 0.6), *, generator: np.random.Generator
    ) -> Hole:
        """An augmented mask ``(height, width)``, True = hole, of a random file, with its hole ratio in ``ratio``.

        Raises:
            InputError: files and augmentations, a hundred of them, gave none in that range.
            ImageFileError: a file cannot be read.
        """
        low, high = ratio
        seen = []
        for _ in range(_TRIES):
            hole = augmented_mask(
                self._read(int(generator.integers(len(self.paths)))), height, width, generator=generator
            )
            seen.append(np.count_nonzero(hole) / hole.size)
            if low <= seen[-1] <= high:
                return hole
        raise InputError(
            f"no hole ratio in {low:g}-{high:g} among {_TRIES} augmented masks at {width}x{height} px, but "
            f"{min(seen):.3f} to {max(seen):.3f}: widen the ratio, take other masks, or check their polarity"
        )

    def _read(self, number: int) -> Hole:
        if number in self._packed:
            bits, shape = self._packed[number]
            return np.unpackbits(bits, count=shape[0] * shape[1]).view(bool).reshape(shape)
        hole = read_mask(self.paths[number], self.white_is_hole, BINARISE_AT)
        bits = np.packbits(hole)
        if bits.nbytes <= self._cache_left:
            self._cache_left -= bits.nbytes
            self._packed[number] = bits, (hole.shape[0], hole.shape[1])
        return hole
