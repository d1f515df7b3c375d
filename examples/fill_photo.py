"""One photo with Pillow: load, fill, save."""

from pathlib import Path

from PIL import Image

import pconv

photos = Path(__file__).parent / "photos"
photo = Image.open(photos / "astronaut.jpg")
mask = Image.open(photos / "astronaut-mask.png")  # white = fill

filled = pconv.inpaint(photo, mask)

filled.save("astronaut-filled.png")
print(f"astronaut-filled.png: {filled.width}x{filled.height}, {filled.mode}")
