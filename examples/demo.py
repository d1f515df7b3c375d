"""`make demo`: fill the holes of a real photo with the bundled model, and put before and after side by side."""

from pathlib import Path

from PIL import Image

import pconv
from pconv.masks.reader import MaskFile

PHOTOS = Path(__file__).parent / "photos"
OUT = Path("demo-output")
GAP = 8


def side_by_side(*pictures: Image.Image) -> Image.Image:
    width = sum(p.width for p in pictures) + GAP * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet


def main() -> None:
    OUT.mkdir(exist_ok=True)
    for name in ("astronaut", "cat", "coffee"):
        read = pconv.read_photo(PHOTOS / f"{name}.jpg")
        photo, hole = read.to_pil(), MaskFile(PHOTOS / f"{name}-mask.png").hole(read)
        filled = pconv.inpaint(photo, hole)
        holed = photo.copy()
        holed.paste((255, 255, 255), mask=Image.fromarray(hole))
        filled.save(OUT / f"{name}-filled.png")
        side_by_side(holed, filled).save(OUT / f"{name}-before-after.png")
        print(f"{name}: filled {hole.mean():.1%} of {photo.width}x{photo.height} px")
    print(f"\nBefore and after: {(OUT / 'astronaut-before-after.png').resolve()}")
    print(f"The filled photos and two more pairs lie beside it in {OUT.resolve()}")


if __name__ == "__main__":
    main()
