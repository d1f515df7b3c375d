"""What every file format has to say about itself, and what most formats do alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import IO, Any, ClassVar, Literal

from numpy.typing import NDArray
from PIL import Image, ImageFile

from pconv.errors import ImageFileError
from pconv.images import exif
from pconv.images.metadata import Metadata, xmp_notes, xmp_without_images
from pconv.images.photo import Photo
from pconv.images.pillow import (
    dpi_of,
    is_deep,
    is_deep_grey_with_alpha,
    orientation_of,
    photo_of,
    pixels_of,
    read_deep,
    xmp_of,
)

QUALITY = 90
"""Of WebP, AVIF and HEIC, whose files do not say at which quality they were made."""

LARGE = 4_000_000
"""Pixels from which speed matters more than the last bytes."""

DEEP = frozenset({"I;16", "LA;16", "RGB;16", "RGBA;16"})
COMMON = frozenset({"EXIF", "XMP", "colour profile"})
_READABLE = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L", "I"}
"""Modes of Pillow. "I" is the one of PGM files of 16 bits; TIFF's 32 bits are refused before."""


class Codec:
    """One file format: how its files are recognised, read and written.

    A new format is a module with a subclass, and one line in ``pconv.images.codecs.CODECS``.

    Attributes:
        name: as Pillow calls it; ``Metadata.format`` of its photos.
        title: as people call it.
        media_type: as HTTP calls it.
        magic: what its files begin with; where that does not suffice, ``recognises`` is written anew.
        plugin: Pillow's class that opens its files.
        suffixes: of its files, in lower case, with the dot; the most usual first.
        modes: the photos' modes that it stores without changing a value.
        transparent_palette: whether an entry of its palettes may be transparent: "no", "one" (GIF) or "any" (PNG).
        colour_key: whether it can declare one stored colour transparent.
        premultiplied: whether it can say that colours are multiplied by alpha.
        lossy: whether it changes values a little: "always", "optional" (WebP) or "never".
        longest_side: in pixels.
        holds: which metadata it can store: "EXIF", "XMP", "colour profile", "resolution", "comment", "texts".
    """

    name: ClassVar[str]
    title: ClassVar[str]
    media_type: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    magic: ClassVar[tuple[bytes, ...]]
    plugin: ClassVar[type[ImageFile.ImageFile]]
    modes: ClassVar[frozenset[str]]
    transparent_palette: ClassVar[Literal["no", "one", "any"]] = "no"
    colour_key: ClassVar[bool] = False
    premultiplied: ClassVar[bool] = False
    lossy: ClassVar[Literal["always", "optional", "never"]] = "never"
    longest_side: ClassVar[int] = 2**31 - 1
    holds: ClassVar[frozenset[str]] = COMMON

    def recognises(self, head: bytes) -> bool:
        """Whether a file that begins with ``head`` (256 bytes, or the whole file) is of this format."""
        return head.startswith(self.magic)

    def open(self, file: IO[bytes]) -> Any:
        """A Pillow image of the file whose pixels are not decoded yet.

        ``Image.open`` is not used: its limit of pixels belongs to the program that pconv is a part of.
        """
        return self.plugin(file)  # type: ignore[no-untyped-call]

    def metadata(self, data: bytes, image: Any) -> tuple[Metadata, list[str]]:
        """What the file holds beside the pixels, and notes for the user about what is not kept.

        Args:
            data: the whole file.
            image: what ``open`` gave.
        """
        return pillow_metadata(image), []

    def with_xmp(self, verbatim: Sequence[tuple[bytes, bytes]], xmp: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """``Metadata.verbatim`` of this format with ``xmp`` in place of its packet of XMP, if it has one.

        Args:
            xmp: not longer than the packet that it replaces.
        """
        return tuple(verbatim)

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        """A file of a photo whose pixels, mode and metadata are as they are to be stored.

        Args:
            photo: in one of ``modes``, its pixels turned as its metadata's orientation says.
            quality: 1..100 of lossy formats; None: as before, or the format's default.
        """
        raise NotImplementedError

    def is_lossless(self, metadata: Metadata, quality: int | None) -> bool:
        """Whether a photo with this metadata is written without changing any pixel.

        WebP is, unless the source was lossy or a quality is given.
        """
        if self.lossy == "optional":
            lossy_before = metadata.format == self.name and not metadata.encoding.get("lossless", True)
            return quality is None and not lossy_before
        return self.lossy == "never"

    def check_encoder(self) -> None:
        """Do nothing if files can be written here.

        Raises:
            InputError: a library is missing.
        """

    def reader_missing(self) -> str:
        """Which library is missing to read files of this format, as a sentence; empty where none is."""
        return ""

    def too_long(self, metadata: Metadata) -> list[str]:
        """What of another format's metadata is too long to be stored here, in words."""
        return []

    def quality_words(self, metadata: Metadata, quality: int | None) -> str:
        """At which quality a photo with this metadata is written, to go after "are encoded again too"."""
        default = metadata.encoding.get("quality", QUALITY) if metadata.format == self.name else QUALITY
        return f"at quality {quality or default}"

    def size(self, file: IO[bytes], name: str) -> tuple[int, int]:
        """Height and width of the upright photo, from the file's header.

        Raises:
            ImageFileError: the file is damaged.
        """
        with explaining_damage(name, self.name):
            image = self.open(file)
            width, height = image.size
            return (width, height) if orientation_of(image) >= 5 else (height, width)

    def decode(self, data: bytes, name: str, max_pixels: int, shrink: int = 1) -> Photo:
        """The photo in a whole file; see ``pconv.images.reading.read_photo``."""
        with explaining_damage(name, self.name):
            image = self.open(BytesIO(data))
            check_size(name, image.width, image.height, max_pixels)
            notes = frames_note(int(getattr(image, "n_frames", 1)))
            if shrink > 1:
                image.draft(None, (image.width // shrink, image.height // shrink))
            if is_deep(image):
                mode = "LA;16" if is_deep_grey_with_alpha(image) else f"{image.mode};16"
                pixels: NDArray[Any] = read_deep(lambda: self.open(BytesIO(data)))
            else:
                check_mode(name, image.mode)
                mode = "I;16" if image.mode.startswith("I") else image.mode
                pixels = pixels_of(image)
            metadata, more = self.metadata(data, image)
            notes = (*notes, *more, *xmp_notes(xmp_of(image)))
            return photo_of(pixels, mode, image, replace(metadata, format=self.name), notes)


def raw_file(name: str, kind: str) -> ImageFileError:
    """The refusal of a camera's raw file, of which only a preview could be read."""
    return ImageFileError(
        f"{name} is a camera raw file ({kind}), which holds sensor values; develop it with a raw converter "
        "(darktable, RawTherapee, Lightroom) and use the TIFF, PNG or JPEG that it writes"
    )


@contextmanager
def explaining_damage(name: str, form: str) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into an ImageFileError of one sentence.

    Decoders raise every kind of exception, so none is singled out.
    """
    try:
        yield
    except ImageFileError:
        raise
    except MemoryError as error:
        raise ImageFileError(f"{name} does not fit into memory") from error
    except Image.DecompressionBombError as error:
        raise ImageFileError(f"{name} has more pixels than this program lets Pillow read: {error}") from error
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise ImageFileError(
            f"{name} is damaged or cut short, and cannot be read as {form} to its end ({reason})"
        ) from error


def check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    """Raise ImageFileError where an image is empty or too large."""
    if width < 1 or height < 1:
        raise ImageFileError(f"{name} says that it has {width}x{height} pixels, so there is nothing in it")
    if width * height > max_pixels:
        raise ImageFileError(
            f"{name} has {width}x{height} pixels, more than the {max_pixels / 1e6:.0f} million that are read"
        )


def check_mode(name: str, mode: str) -> None:
    """Raise ImageFileError where Pillow's mode is none that can be filled."""
    if mode not in _READABLE:
        kind = {"LAB": "Lab colours", "F": "floating-point values"}.get(mode, f"mode {mode}")
        raise ImageFileError(
            f"{name} holds {kind}, which cannot be filled; save it with 8 or 16 bits in grey, RGB or CMYK"
        )


def frames_note(frames: int) -> tuple[str, ...]:
    """A note that other frames than the first are lost; empty where there is one."""
    return (f"animated: only the first of {frames} frames is kept",) if frames > 1 else ()


def pillow_metadata(image: Image.Image) -> Metadata:
    """What Pillow finds in a file of any format."""
    found = image.info
    comment = found.get("comment") or b""
    return Metadata(
        orientation=orientation_of(image),
        exif=exif.without_previews(exif.without_mark(bytes(found.get("exif") or b""))),
        xmp=xmp_without_images(xmp_of(image)),
        icc=bytes(found.get("icc_profile") or b""),
        dpi=dpi_of(image),
        comment=comment.encode("latin-1", "replace") if isinstance(comment, str) else bytes(comment),
    )


def pillow_image(photo: Photo) -> Image.Image:
    """A Pillow image of the photo, with its palette and without any metadata."""
    image = replace(photo, colour_key=None, metadata=Metadata()).to_pil()
    image.info.clear()
    return image


def pillow_file(image: Image.Image, form: str, options: Mapping[str, Any]) -> bytes:
    """The bytes that Pillow writes; options that are None or empty are left out."""
    file = BytesIO()
    image.save(file, form, **{key: value for key, value in options.items() if value not in (None, b"")})
    return file.getvalue()


def metadata_options(metadata: Metadata) -> dict[str, bytes]:
    """Metadata as most of Pillow's encoders take it."""
    return {"icc_profile": metadata.icc, "exif": metadata.exif, "xmp": metadata.xmp}


def media_brands(head: bytes) -> set[bytes]:
    """The brands of a file of the ISO base media format (AVIF, HEIC); empty for any other."""
    if head[4:8] != b"ftyp":
        return set()
    size = int.from_bytes(head[:4], "big")
    return {head[8:12], *(head[at : at + 4] for at in range(16, min(size, 256), 4))}


def deflate_level(height: int, width: int) -> int:
    """zlib's level: 6 as everywhere; for photos of many megapixels 4, at half of the time for 6 % more bytes
    (benchmarks/codecs.py)."""
    return 6 if height * width < LARGE else 4
