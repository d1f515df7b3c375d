"""A sheet of some hole maps beside what they were made from, for a look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.files import replacing

_COLUMNS, _ROWS = 4, 6
_TILE = 240
_PAINT = (255, 0, 255)


class Preview:
    """Collects up to 24 frames with their holes painted over."""

    def __init__(self) -> None:
        self._tiles: list[Image.Image] = []

    def add(self, frame: NDArray[np.uint8], hole: NDArray[np.bool_]) -> None:
        """Take a frame ``(H, W, 3)`` uint8 and its hole map ``(H, W)``, as long as there is room."""
        if len(self._tiles) == _COLUMNS * _ROWS:
            return
        painted = np.where(hole[..., None], np.array(_PAINT, np.uint8), frame)
        pair = Image.fromarray(np.concatenate([painted, np.repeat(hole[..., None] * np.uint8(255), 3, axis=2)]))
        pair.thumbnail((_TILE, 2 * _TILE))
        self._tiles.append(pair)

    def save(self, path: Path) -> None:
        """Write the sheet, each frame above its hole map."""
        width, height = (max(tile.size[axis] for tile in self._tiles) + 4 for axis in (0, 1))
        columns = min(_COLUMNS, len(self._tiles))
        rows = -(-len(self._tiles) // columns)
        sheet = Image.new("RGB", (columns * width, rows * height), "grey")
        for number, tile in enumerate(self._tiles):
            sheet.paste(tile, (number % columns * width, number // columns * height))
        with replacing(path) as temporary:
            sheet.save(temporary)
