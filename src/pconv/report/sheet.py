"""Contact sheets: many small images, in rows, as one."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

TITLE_PX = 16
GAP_PX = 4


def titled(image: Image.Image, title: str) -> Image.Image:
    """An image with a line of text above it."""
    tile = Image.new("RGB", (image.width, image.height + TITLE_PX), "white")
    tile.paste(image, (0, TITLE_PX))
    ImageDraw.Draw(tile).text((1, 1), title.encode("latin-1", "replace").decode("latin-1"), fill="black")
    return tile


def in_rows(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """One image of many; each tile has 4 white pixels to its right and below it."""
    width = max(sum(tile.width + GAP_PX for tile in row) for row in rows)
    heights = [max(tile.height for tile in row) + GAP_PX for row in rows]
    sheet = Image.new("RGB", (width, sum(heights)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for tile in row:
            sheet.paste(tile, (left, top))
            left += tile.width + GAP_PX
        top += height
    return sheet
