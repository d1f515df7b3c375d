"""Photos to files: in their own format with all metadata as it was, in another format with what that can hold."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import ImageFileError, InputError
from pconv.files import replacing
from pconv.images import exif
from pconv.images.codecs import CODECS, codec_for, codec_named
from pconv.images.codecs.base import Codec
from pconv.images.colour.icc import BrokenProfileError, space_of
from pconv.images.metadata import Metadata, as_stored, xmp_with_orientation
from pconv.images.photo import Photo

_WIDER = {
    "1": "L", "L": "RGB", "LA": "RGBA", "PA": "RGBA", "YCbCr": "RGB", "RGBX": "RGB",
    "I;16B": "I;16", "I;16L": "I;16", "I;16": "RGB;16", "LA;16": "RGBA;16",
}  # fmt: skip
"""The mode that holds everything of another one, and is tried next."""
_WITH_ALPHA = {"1": "LA", "L": "LA", "RGB": "RGBA", "I;16": "LA;16", "RGB;16": "RGBA;16"}
_WITHOUT_ALPHA = {"LA": "L", "RGBA": "RGB", "LA;16": "I;16", "RGBA;16": "RGB;16"}


def write_photo(photo: Photo, path: Path, quality: int | None = None) -> None:
    """Write the photo in the format of ``path``'s suffix; the file appears whole or not at all.

    Raises:
        InputError: as ``encode_photo`` says.
        ImageFileError: the file cannot be written.
    """
    data = encode_photo(photo, path.suffix, quality)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ImageFileError(f"cannot write {path}: {error.strerror or error}") from error


def encode_photo(photo: Photo, suffix: str | None = None, quality: int | None = None) -> bytes:
    """The photo as a file's bytes, with all its metadata (in another format than its own: what that can hold).

    Args:
        photo: what to write.
        suffix: names the format; None: the photo's own.
        quality: 1..100 of JPEG, WebP, AVIF, HEIC. None: as the source was, where its file says it.

    Raises:
        InputError: the format is unknown or cannot hold this photo.
        ImageFileError: the encoder failed.
    """
    codec = _codec(photo, suffix)
    codec.check_encoder()
    if not codec.premultiplied:
        photo = photo.straight()
    mode = storable_mode(photo, codec)
    metadata = _metadata_for(codec, photo, mode)
    pixels = np.ascontiguousarray(as_stored(as_mode(photo, mode), metadata.orientation))
    palette = photo.palette if mode == "P" else None
    stored = replace(photo, pixels=pixels, mode=mode, palette=palette, metadata=metadata)
    try:
        return codec.encode(stored, quality)
    except MemoryError as error:
        raise ImageFileError(f"the photo of {photo.width}x{photo.height} pixels does not fit into memory") from error
    except (OSError, ValueError, OverflowError, RuntimeError, struct.error) as error:
        raise ImageFileError(f"cannot encode the photo as {codec.title}: {error}") from error


def check_storable(
    photo: Photo, suffix: str | None = None, quality: int | None = None, all_new: bool = False
) -> list[str]:
    """Whether ``encode_photo`` can do what is asked, before any work is done for it.

    Args:
        photo, suffix, quality: of ``encode_photo``.
        all_new: no pixel will be one that was read.

    Returns:
        Sentences for the user about what changes on the way to the file.

    Raises:
        InputError: it cannot.
    """
    codec = _codec(photo, suffix)
    if quality is not None and not 1 <= quality <= 100:
        raise InputError(f"a quality is a number from 1 to 100, not {quality}")
    if quality is not None and codec.lossy == "never":
        raise InputError(f"{codec.title} is lossless and has no quality; leave it out")
    codec.check_encoder()
    return _notes(photo, codec, storable_mode(photo, codec), quality, all_new)


def storable_mode(photo: Photo, codec: Codec) -> str:
    """The mode in which a format stores this photo with nothing lost but a lossy format's rounding.

    Raises:
        InputError: there is none, or the photo is too long for the format.
    """
    if max(photo.height, photo.width) > codec.longest_side:
        raise InputError(
            f"{codec.title} cannot hold {photo.width}x{photo.height} pixels (at most {codec.longest_side} a side); "
            "write another format"
        )
    mode = _mode(photo, codec)
    if mode is None:
        able = ", ".join(other.suffixes[0] for other in CODECS if _mode(photo, other))
        raise InputError(
            f"{codec.title} cannot hold the {_hindrance(photo, codec)} of this photo, so it cannot be written as "
            f"{codec.suffixes[0]}" + (f"; {able} can" if able else "")
        )
    return mode


def as_mode(photo: Photo, mode: str) -> NDArray[Any]:
    """The photo's pixels, ``(H, W, C)``, in a mode that holds everything they are; see ``storable_mode``."""
    if mode == photo.mode or {mode, photo.mode} <= {"I;16", "I;16B", "I;16L"}:
        return photo.pixels
    if photo.palette is not None:
        colours: NDArray[Any] = photo.palette.colours[photo.pixels[..., 0]]
    elif photo.mode == "1":
        colours = photo.pixels.astype(np.uint8) * np.uint8(255)
    elif photo.mode == "YCbCr":
        colours = np.asarray(photo.to_pil().convert("RGB"))
    else:
        colours = photo.pixels[..., : photo.colour_channels]
    if mode.startswith("RGB") and colours.shape[2] == 1:
        colours = colours.repeat(3, axis=2)
    if not mode.removesuffix(";16").endswith("A"):
        return colours
    alpha = photo.alpha
    if alpha is None:
        alpha = np.full(colours.shape[:2], 65535 if mode.endswith(";16") else 255, colours.dtype)
    if alpha.dtype == np.bool_:
        alpha = alpha.astype(np.uint8) * np.uint8(255)
    return np.concatenate([colours, alpha[..., None].astype(colours.dtype)], axis=2)


def _codec(photo: Photo, suffix: str | None) -> Codec:
    """The format for a suffix, or the photo's own."""
    if suffix is not None:
        return codec_for(suffix)
    own = codec_named(photo.metadata.format)
    if own is None:
        raise InputError("the photo comes from no file, so its format has to be named by a suffix such as .png")
    return own


def _mode(photo: Photo, codec: Codec) -> str | None:
    mode = photo.mode
    if photo.palette is not None and not (mode in codec.modes and _palette_fits(photo, codec)):
        mode = "RGBA" if photo.has_alpha else "RGB"
    if photo.colour_key is not None and not codec.colour_key:
        mode = _WITH_ALPHA[mode]
    while mode not in codec.modes and mode in _WIDER:
        mode = _WIDER[mode]
    if mode not in codec.modes and mode in _WITHOUT_ALPHA and not _is_transparent(photo):
        mode = _WITHOUT_ALPHA[mode]
    return mode if mode in codec.modes else None


def _is_transparent(photo: Photo) -> bool:
    """Whether any pixel is less than opaque."""
    alpha = photo.alpha
    return alpha is not None and bool(np.any(alpha != (photo.white if photo.palette is None else 255)))


def _palette_fits(photo: Photo, codec: Codec) -> bool:
    assert photo.palette is not None
    transparent = photo.palette.alphas[photo.palette.alphas < 255]
    if codec.transparent_palette == "one":
        return len(transparent) == 0 or transparent.tolist() == [0]
    return len(transparent) == 0 or codec.transparent_palette == "any"


def _hindrance(photo: Photo, codec: Codec) -> str:
    if ";16" in photo.mode and not any(mode.endswith(";16") for mode in codec.modes):
        return "16 bits per channel"
    if photo.mode.startswith("CMYK"):
        return "CMYK inks"
    if _is_transparent(photo) and not {"RGBA", "LA"} & codec.modes and codec.transparent_palette == "no":
        return "transparency"
    return "many colours" if "RGB" not in codec.modes else f"mode {photo.mode}"


def _metadata_for(codec: Codec, photo: Photo, mode: str) -> Metadata:
    """What is written beside the pixels: the orientation as it was, or upright; a thumbnail of the photo as it is."""
    metadata = photo.metadata
    if metadata.format != codec.name:
        metadata = replace(metadata, verbatim=(), encoding={})
        if metadata.orientation != 1:
            metadata = replace(
                metadata,
                orientation=1,
                exif=exif.with_size(exif.with_orientation(metadata.exif, 1), photo.width, photo.height),
                xmp=xmp_with_orientation(metadata.xmp, 1),
            )
    if _loses_profile(photo, mode):
        metadata = replace(metadata, icc=b"")
    if exif.has_thumbnail(metadata.exif):
        drawn = exif.with_thumbnail(
            metadata.exif, lambda width, height: _thumbnail(photo, width, height, metadata.orientation)
        )
        metadata = replace(metadata, exif=drawn)
    return metadata


def _loses_profile(photo: Photo, mode: str) -> bool:
    """Whether grey becomes RGB, to which a profile of greys does not apply."""
    if not photo.metadata.icc or photo.colour_channels != 1 or photo.palette is not None or mode[:3] != "RGB":
        return False
    try:
        return space_of(photo.metadata.icc) == "grey"
    except BrokenProfileError:
        return False


def _thumbnail(photo: Photo, width: int, height: int, orientation: int) -> Image.Image:
    """The photo, shrunk to fit into ``width`` x ``height``, turned as it is stored."""
    step = max(min(photo.height, photo.width) // (4 * max(width, height)), 1)
    few = replace(photo, pixels=np.ascontiguousarray(photo.pixels[::step, ::step]))
    image = Image.fromarray(np.ascontiguousarray(as_stored(few.rgb(), orientation)))
    image.thumbnail((width, height), Image.Resampling.BOX)
    return image


def _notes(photo: Photo, codec: Codec, mode: str, quality: int | None, all_new: bool) -> list[str]:
    """What changes when the photo is written in this format."""
    metadata, notes = photo.metadata, []
    same = metadata.format == codec.name
    if not codec.is_lossless(metadata, quality):
        how = codec.quality_words(metadata, quality)
        what = "pixels are encoded" if all_new else "known pixels are encoded again too,"
        notes.append(f"{codec.title} is lossy: {what} {how}; .png keeps them")
    found = {
        "EXIF": metadata.exif,
        "XMP": metadata.xmp,
        "colour profile": metadata.icc,
        "resolution": metadata.dpi,
        "comment": metadata.comment,
        "texts": [key for key in metadata.texts if key != "Comment"],
        metadata.colours: metadata.colours,
    }
    lost = [] if same else [kind for kind, content in found.items() if content and kind not in codec.holds]
    if "colour profile" not in lost and _loses_profile(photo, mode):
        lost.append("colour profile of greys")
    lost += [] if same else codec.too_long(metadata)
    if lost:
        notes.append(f"{codec.title} has no place for the photo's {', '.join(lost)}")
    if photo.premultiplied and not codec.premultiplied and mode in _WITHOUT_ALPHA:
        notes.append(f"the colours are multiplied by alpha, which {codec.title} cannot say: they are divided by it")
    if "EXIF" in codec.holds and exif.has_thumbnail(metadata.exif):
        notes.append("the thumbnail in the EXIF data is drawn again")
    return notes
