"""PNG chunks beside the pixels: sound files that Pillow refuses, colours that become profiles, bounded unpacking."""

import re
import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from kinds import fill, opened, pil, pixels, saved, some_hole
from made_profiles import DISPLAY_P3, SRGB, SRGB_CURVE, formula, matrix_profile
from PIL import ImageCms

from pconv.errors import ImageFileError
from pconv.images.codecs import png
from pconv.images.colour.icc import curves_of
from pconv.images.reading import photo_size, read_photo
from pconv.images.writing import check_storable, encode_photo

XMP_HEAD = b"XML:com.adobe.xmp\0"
BOMB = zlib.compress(bytes(300 * 2**20), 9)


def chunk(name, content, checksum=None):
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_with(*chunks, mode="RGB", late=()):
    """A PNG with chunks, each in whole, behind its header, and others before its end."""
    data = saved(pil(mode, pixels(mode)), "PNG")
    return data[:33] + b"".join(chunks) + data[33:-12] + b"".join(late) + data[-12:]


def beside(data):
    return [each for each in png.chunks(data) if each[0] not in (b"IHDR", b"PLTE", b"IDAT", b"IEND")]


def noise(size):
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8).tobytes()


LARGE_XMP = b"<x:xmpmeta>" + b"<!-- edit -->" * 200_000 + b"</x:xmpmeta>"
LARGE = {
    "profile": [chunk(b"iCCP", b"mine\0\0" + zlib.compress(noise(2 * 2**20)))],
    "zTXt": [chunk(b"zTXt", b"Title\0\0" + zlib.compress(b"words " * 500_000))],
    "iTXt": [chunk(b"iTXt", b"Title\0\1\0de\0Titel\0" + zlib.compress(b"words " * 500_000))],
    "comment": [chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"words " * 500_000))],
    "xmp": [chunk(b"iTXt", XMP_HEAD + b"\0\0\0\0" + LARGE_XMP)],
    "packed xmp": [chunk(b"iTXt", XMP_HEAD + b"\1\0\0\0" + zlib.compress(LARGE_XMP))],
    "many": [chunk(b"zTXt", b"T%d\0\0" % i + zlib.compress(bytes(1_000_000))) for i in range(80)],
}


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("kind", LARGE)
def test_large_metadata_is_read_and_copied_byte_for_byte(kind, where):
    data = png_with(*LARGE[kind]) if where == "before" else png_with(late=LARGE[kind])
    photo = read_photo(data)
    assert np.array_equal(photo.pixels, pixels("RGB"))
    assert photo_size(data) == (23, 31)
    again = encode_photo(fill(photo, some_hole(23, 31)))
    assert beside(again) == beside(data)
    if "xmp" in kind:
        assert photo.metadata.xmp == LARGE_XMP
        assert opened(encode_photo(photo, ".webp")).info["xmp"] == LARGE_XMP
    if kind == "comment":
        assert len(photo.metadata.comment) == 3_000_000


@pytest.mark.parametrize("name", [b"tEXt", b"pHYs", b"tIME", b"gAMA", b"iCCP", b"eXIf", b"prVt", b"iTXt"])
def test_a_wrong_checksum_of_metadata_costs_nothing(name):
    contents = {
        b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
        b"gAMA": struct.pack(">I", 100000),
        b"iCCP": b"mine\0\0" + zlib.compress(matrix_profile(DISPLAY_P3, formula(*SRGB_CURVE))),
    }
    content = contents.get(name, b"Title\0a")
    for data in (png_with(chunk(name, content, 1)), png_with(late=[chunk(name, content, 1)])):
        photo = read_photo(data)
        assert np.array_equal(photo.pixels, pixels("RGB"))
        assert any(f"wrong checksum, which are kept as they are: {name.decode()}" in note for note in photo.notes)
        again = encode_photo(photo)
        assert beside(again) == beside(data)
        opened(again)  # with right checksums
        assert photo_size(data) == (23, 31)


def test_transparency_with_a_wrong_checksum_is_used():
    data = png_with(chunk(b"tRNS", struct.pack(">3H", 1, 2, 3), 1))
    assert read_photo(data).colour_key == (1, 2, 3)
    assert read_photo(png_with(chunk(b"tRNS", b"\1", 1))).colour_key is None


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE", b"IDAT", b"IEND"])
def test_a_wrong_checksum_of_what_the_pixels_need_is_damage(name):
    data = bytearray(saved(pil("RGB", pixels("RGB")).quantize(20), "PNG"))
    place = data.index(name)
    (length,) = struct.unpack_from(">I", data, place - 4)
    data[place + 4 + length] ^= 1
    with pytest.raises(ImageFileError, match=f"damaged.*checksum of its chunk {name.decode()} is wrong"):
        read_photo(bytes(data))


@pytest.mark.parametrize(
    ("name", "head"),
    [
        (b"iCCP", b"mine\0\0"),
        (b"zTXt", b"Comment\0\0"),
        (b"iTXt", XMP_HEAD + b"\1\0\0\0"),
        (b"zTXt", b"Raw profile type exif\0\0"),
    ],
)
def test_bombs_are_not_unpacked_and_not_passed_on(name, head):
    data = png_with(*[chunk(name, head + BOMB)] * 20)
    tracemalloc.start()
    photo = read_photo(data)
    again = encode_photo(photo)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * png.MAX_UNPACKED
    (note,) = photo.notes
    assert "is not kept, since the metadata unpacks to more than 64 MB" in note
    assert beside(again) == []


def test_metadata_that_cannot_be_unpacked_is_named():
    photo = read_photo(png_with(chunk(b"iCCP", b"mine\0\0nonsense"), chunk(b"zTXt", b"Comment\0\0nonsense")))
    assert "the colour profile cannot be used, since it cannot be unpacked" in photo.notes[0]
    assert "the text 'Comment' cannot be used, since it cannot be unpacked" in photo.notes[1]


def test_packed_xmp_loses_its_images_too():
    xmp = b'<x GImage:Data="/9j/4AAQ" GImage:Mime="image/jpeg"/>'
    data = png_with(chunk(b"iTXt", XMP_HEAD + b"\1\0\0\0" + zlib.compress(xmp)))
    ((_, content),) = beside(encode_photo(read_photo(data)))
    assert zlib.decompress(content[len(XMP_HEAD) + 4 :]) == b'<x GImage:Data="" GImage:Mime="image/jpeg"/>'


def test_exif_in_the_text_of_imagemagick_is_found():
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    text = f"\nexif\n{len(exif):8d}\n{exif.hex()}\n".encode()
    data = png_with(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))
    photo = read_photo(data)
    assert photo.metadata.orientation == 6
    assert photo_size(data) == (31, 23)
    assert photo.metadata.exif == exif[6:]


def test_the_thumbnail_in_the_text_of_imagemagick_is_drawn_again():
    """Two directories: of the photo, and of its thumbnail, which lies behind them."""
    small = saved(pil("RGB", np.full((8, 8, 3), 200, np.uint8)), "JPEG")
    exif = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x112, 3, 1, 1, 0, 26)
    exif += struct.pack("<HHHIIHHIII", 2, 0x201, 4, 1, 56, 0x202, 4, 1, len(small), 0) + small
    text = f"\nexif\n{len(exif):8d}\n{exif.hex()}\n".encode()
    data = png_with(chunk(b"tEXt", b"Raw profile type exif\0" + text))
    ((name, content),) = beside(encode_photo(read_photo(data)))
    assert name == b"eXIf"
    assert small not in content
    assert content[56:59] == b"\xff\xd8\xff"


P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
"""White, red, green and blue of Display P3, as cHRM has them."""


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize(
    ("chunks", "to_xyz", "curve"),
    [
        ([chunk(b"gAMA", struct.pack(">I", 100000))], SRGB, lambda x: x),
        ([chunk(b"gAMA", struct.pack(">I", 45455))], SRGB, lambda x: x**2.2),
        ([chunk(b"gAMA", struct.pack(">I", 50000)), chunk(b"cHRM", P3)], DISPLAY_P3, lambda x: x**2),
        ([chunk(b"cHRM", P3)], DISPLAY_P3, None),
        ([chunk(b"cICP", bytes([1, 13, 0, 1])), chunk(b"gAMA", struct.pack(">I", 100000))], SRGB, None),
        ([chunk(b"cICP", bytes([12, 13, 0, 1]))], DISPLAY_P3, None),
    ],
)
def test_colours_become_a_profile_in_other_formats(chunks, to_xyz, curve, suffix):
    data = png_with(*chunks)
    photo = read_photo(data)
    assert beside(encode_photo(photo)) == beside(data)  # within PNG they stay what they are
    profile = opened(encode_photo(photo, suffix)).info["icc_profile"]
    assert not any("no place" in note for note in check_storable(photo, suffix))
    curves = curves_of(profile)
    x = np.linspace(0, 1, curves.linear.shape[1])
    expected = np.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92) if curve is None else curve(x)
    assert np.abs(curves.to_xyz - to_xyz).max() < 3e-4
    assert np.abs(curves.linear - expected).max() < 1e-3
    ImageCms.profileToProfile(pil("RGB", pixels("RGB")), BytesIO(profile), ImageCms.createProfile("sRGB"))


@pytest.mark.parametrize("transfer", [1, 14, 15])
def test_bt2020_becomes_a_profile(transfer):
    curves = curves_of(read_photo(png_with(chunk(b"cICP", bytes([9, transfer, 0, 1])))).metadata.icc)
    assert np.allclose(curves.to_xyz.sum(axis=1), [0.9642, 1, 0.8249], atol=1e-3)
    assert abs(curves.linear[0][32768] - ((0.5 + 0.099) / 1.099) ** (1 / 0.45)) < 1e-3


def test_a_gamma_of_greys_becomes_a_profile_of_greys():
    photo = read_photo(png_with(chunk(b"gAMA", struct.pack(">I", 100000)), mode="L"))
    profile = ImageCms.ImageCmsProfile(BytesIO(opened(encode_photo(photo, ".jpg")).info["icc_profile"]))
    assert profile.profile.xcolor_space.strip() == "GRAY"
    assert any("colour profile of greys" in note for note in check_storable(photo, ".webp"))


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([chunk(b"cICP", bytes([9, 16, 0, 1]))], r"cICP colours \(BT.2020, PQ\)"),
        ([chunk(b"cICP", bytes([9, 18, 0, 1]))], r"cICP colours \(BT.2020, HLG\)"),
        ([chunk(b"cICP", bytes([1, 13, 0, 0]))], r"cICP colours \(BT.709, sRGB, narrow range\)"),
        ([chunk(b"cICP", b"")], r"cICP colours \(primaries 2, transfer 2, narrow range\)"),
        ([chunk(b"gAMA", bytes(4))], r"gamma and primaries"),
        ([chunk(b"cHRM", bytes(32))], r"gamma and primaries"),
        ([chunk(b"cHRM", b"short")], r"gamma and primaries"),
    ],
)
def test_colours_that_no_profile_says_are_named(chunks, words):
    photo = read_photo(png_with(*chunks))
    (note,) = [note for note in check_storable(photo, ".tif") if "no place" in note]
    assert re.search(words, note)
    assert not any("no place" in note for note in check_storable(photo))


def test_srgb_needs_no_profile():
    photo = read_photo(png_with(chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 45455))))
    assert photo.metadata.icc == b""
    assert not any("no place" in note for note in check_storable(photo, ".tif"))
