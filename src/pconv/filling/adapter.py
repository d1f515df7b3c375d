"""What pconv.photos will be, on what there is today. Goes when that room is merged."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, UnidentifiedImageError

from pconv.errors import ImageFileError, InputError
from pconv.filling.images import FORMATS, hole_from_image, storable_mode

Photo = Image.Image


class HoleSource(Protocol):
    def hole(self, photo: Photo) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class MaskFile:
    source: bytes
    fit: str = "exact"

    def hole(self, photo: Photo) -> NDArray[np.bool_]:
        hole = hole_from_image(read_photo(self.source, "the mask"))
        size = (photo.height, photo.width)
        if hole.shape != size and self.fit == "nearest":
            hole = np.asarray(Image.fromarray(hole).resize(size[::-1], Image.Resampling.NEAREST))
        if hole.shape != size:
            raise InputError(
                f"the hole map is {hole.shape[1]}x{hole.shape[0]} and the photo {size[1]}x{size[0]} pixels: they must "
                f"be of one size, or add --fit nearest"
            )
        return hole


def read_photo(source: bytes, name: str = "") -> Photo:
    try:
        image = Image.open(io.BytesIO(source))
        image.load()
    except UnidentifiedImageError as error:
        raise ImageFileError(f"{name} is not an image of a known format") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ImageFileError(f"{name} is damaged or cut short, and cannot be read to its end ({error})") from error
    return image


def check_storable(photo: Photo, suffix: str | None, quality: int | None) -> list[str]:
    storable_mode(photo, PurePosixPath("x" + (suffix or ".png")))  # type: ignore[arg-type]
    return []


def encode_photo(photo: Photo, suffix: str | None = None, quality: int | None = None) -> bytes:
    path = PurePosixPath("x" + (suffix or ".png"))
    form = FORMATS[path.suffix.lower()]
    content = io.BytesIO()
    options: dict[str, Any] = {**form.options, **({"quality": quality} if quality else {})}
    photo.convert(storable_mode(photo, path)).save(content, form.name, **options)  # type: ignore[arg-type]
    return content.getvalue()


def hole_of(photo: Photo, sources: Sequence[HoleSource], invert: bool = False, grow: int = 0) -> NDArray[np.bool_]:
    hole = np.zeros((photo.height, photo.width), bool)
    for source in sources:
        hole |= ~source.hole(photo) if invert and isinstance(source, MaskFile) else source.hole(photo)
    if grow:
        hole = np.asarray(Image.fromarray(hole).convert("L").filter(ImageFilter.MaxFilter(2 * grow + 1))) > 0
    return hole


def fill_photo(fill: Any, photo: Photo, hole: NDArray[np.bool_], feather: int) -> Photo:
    if feather:
        raise InputError("--feather comes with pconv.photos")
    filled: Photo = fill(photo, hole)
    return filled
