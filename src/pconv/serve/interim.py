"""Stands in for pconv.photos until that is merged: the contract's names on today's Pillow code."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from pconv.errors import ImageFileError, InputError
from pconv.filling.images import FORMATS, hole_from_image, storable_mode

NAMES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}


@dataclass
class Photo:
    image: Image.Image
    suffix: str
    notes: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        return self.image.height

    @property
    def width(self) -> int:
        return self.image.width

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        colours = np.asarray(self.image.convert("RGB"))[rows, columns].astype(np.float32) / 255
        return np.ascontiguousarray(colours.transpose(2, 0, 1))

    def write(self, rows: slice, columns: slice, colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> None:
        whole = np.asarray(self.image.convert("RGB")).copy()
        old = whole[rows, columns]
        share = opacity[..., None]
        mixed = (colours.transpose(1, 2, 0) * 255).clip(0, 255) * share + old * (1 - share)
        whole[rows, columns] = np.where(share > 0, mixed.round(), old).astype(np.uint8)
        filled = Image.fromarray(whole).convert(self.image.mode)
        if "A" in self.image.getbands():
            filled.putalpha(self.image.getchannel("A"))
        self.image.paste(filled, mask=Image.fromarray(opacity > 0))

    def copy(self) -> Photo:
        return Photo(self.image.copy(), self.suffix, self.notes)


@dataclass
class MaskFile:
    source: bytes
    fit: str = "exact"


def read_photo(source: bytes, name: str = "") -> Photo:
    try:
        image: Image.Image = Image.open(BytesIO(source))
        suffix = NAMES.get(image.format or "", ".png")
        image.load()
        image = ImageOps.exif_transpose(image)
    except Exception as error:
        raise ImageFileError(f"{name} is damaged or cut short ({error})") from error
    if image.mode in ("1", "P", "PA", "I;16"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return Photo(image, suffix)


def encode_photo(photo: Photo, suffix: str | None = None, quality: int | None = None) -> bytes:
    from pathlib import Path

    path = Path("x" + (suffix or photo.suffix))
    form = FORMATS[path.suffix]
    out = BytesIO()
    options = {**form.options, **({"quality": quality} if quality and form.name in ("JPEG", "WEBP") else {})}
    photo.image.convert(storable_mode(photo.image, path)).save(out, form.name, **options)
    return out.getvalue()


def check_storable(photo: Photo, suffix: str | None, quality: int | None) -> list[str]:
    from pathlib import Path

    storable_mode(photo.image, Path("x" + (suffix or photo.suffix)))
    return []


def hole_of(photo: Photo, sources: list[MaskFile], invert: bool = False, grow: int = 0) -> NDArray[np.bool_]:
    mask = read_photo(sources[0].source, "the mask").image
    if mask.size != photo.image.size:
        raise InputError(f"the mask is {mask.width}x{mask.height} and the photo {photo.width}x{photo.height} pixels")
    hole = hole_from_image(mask)
    hole = ~hole if invert else hole
    if grow:
        hole = np.asarray(Image.fromarray(hole).convert("L").filter(ImageFilter.MaxFilter(2 * grow + 1))) > 0
    return hole
