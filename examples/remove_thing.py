"""Take something out of a photo; the file comes back as it was: format, quality, EXIF and profile are the photo's."""

from pathlib import Path

import numpy as np

from pconv import Inpainter, read_photo, write_photo
from pconv.masks.reader import MaskFile
from pconv.masks.sources import Rectangle, hole_of

photos = Path(__file__).parent / "photos"
photo = read_photo(photos / "coffee.jpg")  # upright, whatever the camera's orientation

spoon, sticker = MaskFile(photos / "coffee-mask.png"), Rectangle(x=20, y=20, width=40, height=12)
hole = hole_of(photo, [spoon, sticker], grow=2)
filled = Inpainter()(photo, hole, feather=3)

write_photo(filled, Path("coffee-filled.jpg"))
changed = (filled.pixels != photo.pixels).any(axis=2)
assert not np.any(changed & ~hole)  # nothing outside the hole was touched
print(f"coffee-filled.jpg: {hole.mean():.1%} filled")
