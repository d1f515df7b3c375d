"""PNG: its chunks beside the pixels are kept byte for byte; 16 bits per channel, which Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from pconv.images.codecs.base import COMMON, DEEP, Codec, deflate_level, pillow_file, pillow_image, pillow_metadata
from pconv.images.metadata import Metadata, xmp_without_images
from pconv.images.photo import Photo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Content = bytes | memoryview
Chunk = tuple[bytes, Content]

_OF_THE_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"hIST"}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_CREDENTIALS = b"caBX"
_BEFORE_PALETTE = {b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI"}
_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""By the number of channels."""


class Png(Codec):
    """PNG; of animations, the first frame."""

    name, title, media_type = "PNG", "PNG", "image/png"
    suffixes = (".png",)
    magic = (SIGNATURE,)
    plugin = PngImagePlugin.PngImageFile
    modes = DEEP | {"1", "L", "LA", "P", "RGB", "RGBA"}
    transparent_palette = "any"
    colour_key = True
    holds = COMMON | {"resolution", "comment", "texts"}

    def metadata(self, data: bytes, image: Any) -> tuple[Metadata, list[str]]:
        kept, notes = kept_chunks(data)
        texts = {str(key): str(text) for key, text in image.text.items()}
        xmp = texts.pop("XML:com.adobe.xmp", "")
        common = pillow_metadata(image)
        found = replace(
            common,
            xmp=xmp_without_images(xmp.encode()) or common.xmp,
            texts=tuple(texts.items()),
            comment=texts.get("Comment", "").encode(),
            verbatim=kept,
            encoding=MappingProxyType({"bits": data[24]}),
        )
        return found, notes

    def encode(self, photo: Photo, quality: int | None) -> bytes:
        metadata = photo.metadata
        if photo.mode.endswith("16"):
            own = encode_deep(photo.pixels.astype(np.uint16, copy=False), photo.colour_key)
        else:
            bits = metadata.encoding.get("bits", 8)
            options: dict[str, Any] = {"compress_level": deflate_level(*photo.pixels.shape[:2])}
            if photo.mode == "L" and bits < 8:
                options["bits"] = bits
            if photo.mode == "P" and photo.palette is not None and not photo.palette.is_opaque:
                options["transparency"] = photo.palette.alphas.tobytes()
            elif photo.colour_key is not None:
                key = photo.colour_key
                options["transparency"] = key if len(key) > 1 else key[0]
            own = chunks(pillow_file(pillow_image(photo), "PNG", options))
        if metadata.format != "PNG":
            return with_chunks(own, chunks_of(metadata))
        changed = {b"eXIf": metadata.exif} if metadata.exif else {}
        return with_chunks(own, [(name, changed.get(name, content)) for name, content in metadata.verbatim])


def chunks(data: bytes) -> Iterator[Chunk]:
    """The (name, content) of a PNG's chunks, up to its end or to where it is cut short."""
    place = len(SIGNATURE)
    view = memoryview(data)
    while place + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        content: Content = view[place + 8 : place + 8 + length]
        content = content if name == b"IDAT" else bytes(content)  # pixels are not copied
        if len(content) < length:
            return
        yield name, content
        place += 12 + length
        if name == b"IEND":
            return


def kept_chunks(data: bytes) -> tuple[tuple[tuple[bytes, bytes], ...], list[str]]:
    """What a PNG holds beside its pixels, with an empty IDAT between what lies before and behind them; and notes."""
    kept: list[tuple[bytes, bytes]] = []
    notes = []
    for name, content in chunks(data):
        if name == b"IDAT":
            if (b"IDAT", b"") not in kept:
                kept.append((b"IDAT", b""))
        elif name == _CREDENTIALS:
            notes.append("the content credentials (C2PA) are not kept: they vouch for the photo as it was")
        elif name == b"iTXt" and bytes(content).startswith(_XMP):
            kept.append((name, xmp_without_images(bytes(content))))
        elif name not in _OF_THE_PIXELS | _ANIMATION:
            kept.append((name, bytes(content)))
    return tuple(kept), notes


def chunks_of(metadata: Metadata) -> tuple[Chunk, ...]:
    """The chunks that say what another format's metadata says."""
    made: list[Chunk] = []
    if metadata.icc:
        made.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        per_metre = (round(dots / 0.0254) for dots in metadata.dpi)
        made.append((b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if metadata.exif:
        made.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        made.append((b"iTXt", _XMP + metadata.xmp))
    if metadata.comment:
        made.append((b"tEXt", b"Comment\0" + metadata.comment))
    return (*made, (b"IDAT", b""))


def with_chunks(own: Iterable[Chunk], added: Iterable[Chunk]) -> bytes:
    """A PNG of the chunks that make its pixels, with others put in where they belong."""
    own, added = list(own), list(added)
    middle = [name for name, _ in added].index(b"IDAT") if (b"IDAT", b"") in added else len(added)
    head = [chunk for chunk in own if chunk[0] == b"IHDR"]
    palette = [chunk for chunk in own if chunk[0] in (b"PLTE", b"tRNS")]
    first = [chunk for chunk in added[:middle] if chunk[0] in _BEFORE_PALETTE]
    then = [chunk for chunk in added[:middle] if chunk[0] not in _BEFORE_PALETTE]
    body = [chunk for chunk in own if chunk[0] == b"IDAT"]
    laid_out = [*head, *first, *palette, *then, *body, *added[middle + 1 :], (b"IEND", b"")]
    return b"".join([SIGNATURE, *(part for chunk in laid_out for part in _framed(*chunk))])


def encode_deep(pixels: NDArray[np.uint16], colour_key: tuple[int, ...] | None = None) -> Iterator[Chunk]:
    """The chunks of ``(H, W, C)`` uint16 pixels: grey, grey and alpha, RGB or RGBA."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    yield b"IHDR", header
    if colour_key is not None:
        yield b"tRNS", struct.pack(f">{channels}H", *colour_key)
    packer = zlib.compressobj(deflate_level(height, width), strategy=zlib.Z_FILTERED)
    above = np.zeros((1, width * channels * 2), np.uint8)
    rows = max(2**20 // above.shape[1], 1)
    for top in range(0, height, rows):
        lines = pixels[top : top + rows].astype(">u2", order="C").view(np.uint8).reshape(-1, above.shape[1])
        packed = packer.compress(_filtered(lines, above, channels * 2).tobytes())
        if packed:
            yield b"IDAT", packed
        above = lines[-1:]
    yield b"IDAT", packer.flush()


def _filtered(lines: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Each row by the filter (Sub, Up or Paeth) that leaves the smallest numbers; its number comes first."""
    up = np.concatenate([above, lines[:-1]])
    left = np.pad(lines, [(0, 0), (step, 0)])[:, :-step]
    corner = np.pad(up, [(0, 0), (step, 0)])[:, :-step]
    a, b, c = (each.astype(np.int16) for each in (left, up, corner))
    to_left, to_up, to_corner = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    choices = [(1, lines - left), (2, lines - up), (4, lines - paeth)]
    sizes = [np.abs(rest.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for _, rest in choices]
    best = np.argmin(sizes, axis=0)
    result = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
    for place, (number, rest) in enumerate(choices):
        result[best == place, 0] = number
        result[best == place, 1:] = rest[best == place]
    return result


def _framed(name: bytes, content: Content) -> Iterator[Content]:
    yield struct.pack(">I", len(content)) + name
    yield content
    yield struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
