"""Bytes to a photo: found out by content, checked before anything large is allocated, upright, with all metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from pconv.errors import ImageFileError
from pconv.images import png
from pconv.images.collect import collect
from pconv.images.colour import space_of
from pconv.images.deep import is_deep, pixels_of, read_deep
from pconv.images.metadata import Metadata
from pconv.images.orientation import upright
from pconv.images.palette import Palette
from pconv.images.photo import Photo

MAX_PIXELS = 178_956_970
"""Larger pictures are refused before they are decoded; where Pillow itself would draw the line by default."""

T = TypeVar("T")

MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L"}


@dataclass(frozen=True)
class Source:
    """A file that is being read.

    Attributes:
        data: all of it.
        name: for messages.
        format: as Pillow calls it.
    """

    data: bytes
    name: str
    format: str

    def open(self) -> Any:
        """A new image of it, not yet decoded. Formats are opened one by one, past ``Image.open`` and its global limit
        of pixels, which belongs to the program that we are a part of."""
        return self.guarded(lambda: _OPENERS[self.format](BytesIO(self.data)))

    def guarded(self, read: Callable[[], T]) -> T:
        """What ``read`` returns, and whatever it raises on damaged files in one sentence.

        Decoders raise every kind of exception, so none is singled out.
        """
        try:
            return read()
        except ImageFileError:
            raise
        except MemoryError as error:
            raise ImageFileError(f"{self.name} does not fit into memory") from error
        except Image.DecompressionBombError as error:
            raise ImageFileError(f"{self.name} has more pixels than this program lets Pillow read: {error}") from error
        except Exception as error:
            reason = str(error).split("\n")[0] or type(error).__name__
            raise ImageFileError(
                f"{self.name} is damaged or cut short, and cannot be read as {self.format} to its end ({reason})"
            ) from error


def format_of(data: bytes) -> str | None:
    """What the first bytes say that a file is."""
    head = data[:32]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(png.SIGNATURE):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:2] == b"BM":
        return "BMP"
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(size, 256), 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
            return "HEIF"
    return None


def decode(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo.

    Raises:
        ImageFileError: it is no picture of a known format, damaged, too large, or of a kind that cannot be filled.
    """
    form = format_of(data)
    if form is None:
        raise ImageFileError(
            f"{name} is empty"
            if not data
            else f"{name} is not an image of a known format (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC)"
        )
    source = Source(data, name, form)
    if form == "TIFF":
        from pconv.images import tiff

        return tiff.decode(source, max_pixels)
    image = source.open()
    width, height = image.size
    check_size(source, width, height, max_pixels)
    if form == "HEIF":
        image = source.guarded(image.to_pillow)
    notes = _frames_note(image)
    if is_deep(image):
        mode = {"RGB": "RGB;16", "RGBA": "RGBA;16"}[image.mode]
        if ";16" in str(image.tile[0].args) and str(image.tile[0].args).startswith("LA"):
            mode = "LA;16"
        pixels = source.guarded(lambda: read_deep(source.open))
    else:
        mode = image.mode
        check_mode(source, mode)
        pixels = source.guarded(lambda: pixels_of(image))
    metadata, more = source.guarded(lambda: collect(data, form, image))
    return photo_of(pixels, mode, image, metadata, (*notes, *more))


def photo_of(stored: NDArray[Any], mode: str, image: Image.Image, metadata: Metadata, notes: tuple[str, ...]) -> Photo:
    """A photo of pixels as they are stored, and of a Pillow image that knows their palette and transparency."""
    pixels = np.ascontiguousarray(upright(stored, metadata.orientation))
    palette = palette_of(image, pixels, metadata.encoding.get("bits", 8)) if mode in ("P", "PA") else None
    space, note = space_of(mode, metadata.icc)
    return Photo(
        pixels,
        "I;16" if mode.startswith("I;16") else mode,
        space,
        palette,
        colour_key_of(image, mode, metadata.encoding.get("bits", 8)),
        metadata,
        notes + ((note,) if note else ()),
    )


def check_size(source: Source, width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageFileError(f"{source.name} says that it has {width}x{height} pixels, so there is nothing in it")
    if width * height > max_pixels:
        raise ImageFileError(
            f"{source.name} has {width}x{height} pixels, more than the {max_pixels / 1e6:.0f} million that are read"
        )


def check_mode(source: Source, mode: str) -> None:
    if mode not in MODES:
        kind = {"LAB": "Lab colours", "F": "floating-point values", "I": "32-bit values"}.get(mode, f"mode {mode}")
        raise ImageFileError(
            f"{source.name} holds {kind}, which cannot be filled; save it with 8 or 16 bits in grey, RGB or CMYK"
        )


def palette_of(image: Image.Image, pixels: NDArray[Any], bits: int = 8) -> Palette:
    stored = image.palette
    width = 4 if stored is not None and stored.mode == "RGBA" else 3
    entries = np.frombuffer(bytes(stored.palette) if stored is not None and stored.palette else b"", np.uint8)
    entries = entries[: len(entries) // width * width].reshape(-1, width)[:256]
    alphas = entries[:, 3].copy() if width == 4 else np.full(len(entries), 255, np.uint8)
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        count = min(len(transparency), len(alphas))
        alphas[:count] = np.frombuffer(transparency[:count], np.uint8)
    elif isinstance(transparency, int) and transparency < len(alphas):
        alphas[transparency] = 0
    return Palette.of(entries[:, :3].copy(), alphas, pixels[..., 0].astype(np.uint8, copy=False), 2**bits)


def colour_key_of(image: Image.Image, mode: str, bits: int) -> tuple[int, ...] | None:
    """The transparent colour of a grey or RGB PNG or GIF, in the pixels' own values."""
    key = image.info.get("transparency")
    if key is None or isinstance(key, bytes) or mode in ("P", "PA", "LA", "RGBA", "LA;16", "RGBA;16"):
        return None
    if mode == "1":
        return (int(bool(key)),)
    if mode == "L" and bits < 8:
        return (int(key) * 255 // (2**bits - 1),)
    return tuple(key) if isinstance(key, tuple) else (int(key),)


def _frames_note(image: Image.Image) -> tuple[str, ...]:
    frames = int(getattr(image, "n_frames", 1))
    return (f"animated: only the first of {frames} frames is kept",) if frames > 1 else ()


def _open_avif(file: BytesIO) -> ImageFile.ImageFile:
    from PIL import AvifImagePlugin

    return AvifImagePlugin.AvifImageFile(file)


def _open_heif(file: BytesIO) -> Any:
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise ImageFileError("reading HEIC photos needs pillow-heif: pip install pillow-heif") from error
    return pillow_heif.open_heif(file)


_OPENERS: dict[str, Callable[[BytesIO], Any]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": _open_avif,
    "HEIF": _open_heif,
}
