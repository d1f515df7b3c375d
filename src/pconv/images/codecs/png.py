"""PNG: its chunks beside the pixels are kept byte for byte; 16 bits per channel, which Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from io import BytesIO
from types import MappingProxyType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from pconv.images import exif
from pconv.images.codecs.base import (
    COMMON,
    DEEP,
    Codec,
    deflate_level,
    explaining_damage,
    frames_note,
    pillow_file,
    pillow_image,
    pillow_metadata,
)
from pconv.images.colour.png import profile_of
from pconv.images.metadata import Metadata, xmp_without_images
from pconv.images.photo import Photo
from pconv.images.pillow import orientation_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Content = bytes | memoryview
Chunk = tuple[bytes, Content]

_OF_THE_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"hIST"}
OF_THE_MODE = frozenset({b"sBIT", b"bKGD"})
"""Chunks that are true of one mode and depth alone."""
OF_THE_SIZE = frozenset({b"sCAL"})
"""Chunks that are true of one size alone: how large on the ground, or in the object, a pixel is."""
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_CREDENTIALS = b"caBX"
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_XMP_KEY, _EXIF_KEY, _COMMENT_KEY = b"XML:com.adobe.xmp", b"Raw profile type exif", b"Comment"
_USED_TEXTS = {_XMP_KEY, _EXIF_KEY, _COMMENT_KEY}
_BEFORE_PALETTE = {b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI"}
_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""By the number of channels."""

MAX_UNPACKED = 64 * 2**20
"""Bytes to which the metadata of one file may unpack: a few kilobytes can unpack to many gigabytes."""


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

    def open(self, file: IO[bytes]) -> Any:
        """A Pillow image of the pixels alone: Pillow refuses sound files for their metadata, which is read here."""
        return self.plugin(BytesIO(pixels_alone(file.read())))  # type: ignore[no-untyped-call]

    def size(self, file: IO[bytes], name: str) -> tuple[int, int]:
        data = file.read()
        with explaining_damage(name, self.name):
            image = self.open(BytesIO(data))
            image.info |= Beside(data).info
            width, height = image.size
            return (width, height) if orientation_of(image) >= 5 else (height, width)

    def metadata(self, data: bytes, image: Any) -> tuple[Metadata, list[str]]:
        beside = Beside(data)
        image.info |= beside.info
        icc, colours = profile_of(beside.colours, beside.info["icc_profile"], grey=data[25] in (0, 4))
        found = replace(
            pillow_metadata(image),
            icc=icc,
            colours=colours,
            texts=tuple(beside.texts),
            verbatim=tuple(beside.kept),
            encoding=MappingProxyType({"bits": data[24]}),
        )
        return found, beside.notes

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

    def with_xmp(self, verbatim: Sequence[tuple[bytes, bytes]], xmp: bytes) -> tuple[tuple[bytes, bytes], ...]:
        key = _XMP_KEY + b"\0"
        return tuple(
            (b"iTXt", _XMP + xmp) if each[0] in _TEXTS and each[1].startswith(key) else each for each in verbatim
        )


def chunks(data: bytes) -> Iterator[Chunk]:
    """The (name, content) of a PNG's chunks, up to its end or to where it is cut short."""
    for name, content, _ in _parsed(data):
        yield name, content if name == b"IDAT" else bytes(content)  # pixels are not copied


def pixels_alone(data: bytes) -> bytes:
    """The file without the chunks that the pixels do not need.

    Raises:
        ValueError: a chunk that the pixels do need has a wrong checksum.
    """
    parts: list[Content] = [SIGNATURE]
    place, view = len(SIGNATURE), memoryview(data)
    for name, content, is_sound in _parsed(data):
        end = place + len(content) + 12
        if name == b"tRNS":
            if len(content) == {0: 2, 2: 6}.get(data[25], len(content)):
                parts += _framed(name, content)
        elif not _is_beside(name):
            if name.isalpha() and not is_sound():
                raise ValueError(f"the checksum of its chunk {name.decode()} is wrong")
            parts.append(view[place:end])
        place = end
    return b"".join([*parts, view[place:]])


class _TooLargeError(ValueError):
    """Metadata unpacks to more than ``MAX_UNPACKED``."""


class Beside:
    """What a PNG holds beside its pixels.

    Attributes:
        kept: chunks that are still true of a changed photo, with an empty IDAT between what lies before and behind.
        notes: sentences about the others, and about what cannot be used.
        info: EXIF, XMP, colour profile, resolution and comment, as Pillow names them.
        texts: the keys of its texts.
        colours: the contents of the chunks that speak of colours.
    """

    def __init__(self, data: bytes) -> None:
        self.kept: list[tuple[bytes, bytes]] = []
        self.notes: list[str] = []
        self.info: dict[Any, Any] = {"exif": b"", "icc_profile": b""}
        self.texts: list[str] = []
        self.colours: dict[bytes, bytes] = {}
        self._left = MAX_UNPACKED
        wrong: set[str] = set()
        frames, has_frame = 0, False
        for name, view, is_sound in _parsed(data):
            if name == b"IDAT":
                if (b"IDAT", b"") not in self.kept:
                    self.kept.append((b"IDAT", b""))
                continue
            content = bytes(view)
            if _is_beside(name) and not is_sound():
                wrong.add(name.decode())
            if name == b"acTL" and len(content) == 8:
                frames = int.from_bytes(content[:4], "big")
            has_frame |= name == b"fcTL" and (b"IDAT", b"") not in self.kept
            if name == _CREDENTIALS:
                self.notes.append("the content credentials (C2PA) are not kept: they vouch for the photo as it was")
            elif name not in _OF_THE_PIXELS | _ANIMATION:
                with suppress(_TooLargeError):
                    self._add(name, content)
        if frames:
            self.notes += frames_note(frames if has_frame else frames + 1)
        if wrong:
            names = ", ".join(sorted(wrong))
            self.notes.append(f"the PNG has chunks with a wrong checksum, which are kept as they are: {names}")

    def _add(self, name: bytes, content: bytes) -> None:
        kept: bytes | None = content
        if name in _TEXTS:
            kept = self._add_text(name, content)
        elif name == b"iCCP":
            _, _, packed = content.partition(b"\0")
            self.info["icc_profile"] = self._unpacked(packed[1:], "the colour profile") or b""
        elif name == b"eXIf":
            self.info["exif"] = content
        elif name == b"pHYs" and len(content) == 9 and content[8] == 1:
            across, down, _ = struct.unpack(">IIB", content)
            self.info["dpi"] = across * 0.0254, down * 0.0254
        elif name in (b"cICP", b"sRGB", b"gAMA", b"cHRM"):
            self.colours.setdefault(name, content)
        if kept is not None:
            self.kept.append((name, kept))

    def _add_text(self, name: bytes, content: bytes) -> bytes | None:
        """Use a text if something is known about its key; the content to keep, None for nothing."""
        key, _, text = content.partition(b"\0")
        if key not in _USED_TEXTS:
            self.texts.append(key.decode("latin-1"))
            return content
        packed = name == b"zTXt"
        head = content[: len(key) + 1]
        if packed:
            head, text = head + text[:1], text[1:]
        elif name == b"iTXt":
            packed = text[:1] == b"\1"
            text = text[2:].split(b"\0", 2)[-1]
            head = content[: len(content) - len(text)]
        if packed:
            unpacked = self._unpacked(text, "the XMP packet" if key == _XMP_KEY else f"the text {key.decode()!r}")
            if unpacked is None:
                return None if key == _XMP_KEY else content  # XMP could show what was removed
            text = unpacked
        if key == _XMP_KEY:
            self.info["xmp"] = text
            clean = xmp_without_images(text)
            return content if clean == text else head + (zlib.compress(clean) if packed else clean)
        if key == _COMMENT_KEY:
            self.info["comment"] = text if name == b"iTXt" else text.decode("latin-1").encode()
            self.texts.append("Comment")
        elif not self.info["exif"]:
            with suppress(ValueError):  # ImageMagick's way: a name, a length, and hexadecimal digits
                found = bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
                self.info["exif"] = found
                plain = exif.without_mark(found)
                if exif.has_thumbnail(plain) or exif.without_previews(plain) != plain:
                    self.kept.append((b"eXIf", plain))  # whose thumbnail is drawn again
                    return None
        return content

    def _unpacked(self, packed: bytes, what: str) -> bytes | None:
        """What zlib unpacks, None with a note where it is damaged.

        Raises:
            _TooLargeError: it is more than this file's metadata may be; a note says so.
        """
        try:
            content = zlib.decompressobj().decompress(packed, self._left + 1)
        except zlib.error as error:
            self._note(f"{what} cannot be used, since it cannot be unpacked ({error})")
            return None
        if len(content) > self._left:
            self._left = 0  # so that many such chunks cost no more than one
            self._note(f"{what} is not kept, since the metadata unpacks to more than {MAX_UNPACKED // 2**20} MB")
            raise _TooLargeError
        self._left -= len(content)
        return content

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _parsed(data: bytes) -> Iterator[tuple[bytes, memoryview, Callable[[], bool]]]:
    """The name and content of each chunk, and whether its checksum is right."""
    place = len(SIGNATURE)
    view = memoryview(data)
    while place + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            return
        content = view[place + 8 : end - 4]
        checksum = int.from_bytes(view[end - 4 : end], "big")
        yield name, content, partial(_has_checksum, name, content, checksum)
        place = end
        if name == b"IEND":
            return


def _has_checksum(name: bytes, content: Content, checksum: int) -> bool:
    return zlib.crc32(content, zlib.crc32(name)) == checksum


def _is_beside(name: bytes) -> bool:
    """Whether a chunk is ancillary: decoders can do without it."""
    return name.isalpha() and name[:1].islower()


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
