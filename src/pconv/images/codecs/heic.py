"""HEIC, through pillow-heif (the extra pconv[heic])."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO
from types import MappingProxyType
from typing import IO, Any

from pconv.errors import ImageFileError, InputError
from pconv.images.codecs.base import (
    QUALITY,
    Codec,
    media_brands,
    metadata_options,
    pillow_image,
    pillow_metadata,
)
from pconv.images.metadata import Metadata
from pconv.images.photo import Photo

_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


class Heic(Codec):
    """HEIC, as telephones write it; 8 bits are kept."""

    name, title, media_type = "HEIF", "HEIC", "image/heic"
    suffixes = (".heic", ".heif")
    modes = frozenset({"L", "RGB", "RGBA"})
    lossy = "always"
    longest_side = 65536

    def recognises(self, head: bytes) -> bool:
        return bool(media_brands(head) & _BRANDS)

    def open(self, file: IO[bytes]) -> Any:
        if self.reader_missing():
            raise ImageFileError(self.reader_missing())
        from pillow_heif import HeifImageFile

        return HeifImageFile(file)  # type: ignore[no-untyped-call]

    def metadata(self, data: bytes, image: Any) -> tuple[Metadata, list[str]]:
        found = image.info
        notes = []
        if found.get("bit_depth", 8) > 8:
            notes.append("the HEIC photo has more than 8 bits per channel, of which 8 are kept")
        if any(found.get(kind) for kind in ("thumbnails", "depth_images", "aux")):
            notes.append("the other images in the file (previews, depth or HDR gain maps) are not kept")
        encoding = {"chroma": found["chroma"]} if found.get("chroma") in (420, 422, 444) else {}
        return replace(pillow_metadata(image), encoding=MappingProxyType(encoding)), notes

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        import pillow_heif

        file = BytesIO()
        image = pillow_image(photo)
        image.info = {key: value for key, value in metadata_options(photo.metadata).items() if value}
        pillow_heif.from_pillow(image).save(file, quality=quality or QUALITY, **photo.metadata.encoding)
        return file.getvalue()

    def reader_missing(self) -> str:
        return "" if find_spec("pillow_heif") else "reading HEIC photos needs pillow-heif: pip install pillow-heif"

    def check_encoder(self) -> None:
        if find_spec("pillow_heif") is None:
            raise InputError("writing HEIC photos needs pillow-heif: pip install pillow-heif")
