"""Files of every format and mode: read as other libraries read them, and written so that others read them back."""

import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from kinds import fill, opened, pil, pixels, saved, some_hole
from PIL import Image, ImageCms

from pconv.errors import InputError
from pconv.images.photo import Photo
from pconv.images.pillow import from_pil
from pconv.images.reading import read_photo
from pconv.images.writing import check_storable, encode_photo, write_photo

DEEP = ["I;16", "LA;16", "RGB;16", "RGBA;16"]


def by_opencv(data):
    """What OpenCV reads, with its B, G, R in our order."""
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read.ndim == 3:
        read = cv2.cvtColor(read, cv2.COLOR_BGR2RGB if read.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return read


def png_by_hand(values, colour_type, depth=16, filters=(0, 1, 2, 3, 4), interlaced=False, extra=()):
    """A PNG whose rows use the given filters in turn, written as the specification says, byte by byte."""
    height, width = values.shape[:2]
    raw = b""
    passes = [(0, 0, 1, 1)] if not interlaced else ADAM7
    for top, left, down, across in passes:
        part = values[top::down, left::across]
        if part.size == 0:
            continue
        above = bytes(part[0].astype(">u2").tobytes().__len__())
        step = values.shape[2] * depth // 8
        for number, row in enumerate(part):
            line = row.astype(">u2").tobytes()
            kind = filters[number % len(filters)]
            raw += bytes([kind]) + bytes(
                (value - predicted(kind, line, above, i, step)) % 256 for i, value in enumerate(line)
            )
            above = line
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)), *extra]
    chunks += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def predicted(kind, line, above, i, step):
    left = line[i - step] if i >= step else 0
    corner = above[i - step] if i >= step else 0
    paeth = min((left, above[i], corner), key=lambda v: abs(left + above[i] - corner - v))
    return (0, left, above[i], (left + above[i]) // 2, paeth)[kind]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("mode", "colour_type"), [("I;16", 0), ("RGB;16", 2), ("LA;16", 4), ("RGBA;16", 6)])
def test_deep_pngs_of_all_filters_are_read(mode, colour_type, interlaced):
    values = pixels(mode, 13, 17)
    photo = read_photo(png_by_hand(values, colour_type, interlaced=interlaced))
    assert photo.mode == mode
    assert np.array_equal(photo.pixels, values)


@pytest.mark.parametrize("mode", ["I;16", "RGB;16", "RGBA;16"])
@pytest.mark.parametrize("smooth", [False, True])
def test_deep_pngs_are_written_for_others(mode, smooth):
    values = pixels(mode, 300, 101)
    if smooth:
        values = np.cumsum(values >> 8, axis=1, dtype=np.uint16)
    data = encode_photo(Photo(values, mode), ".png")
    assert np.array_equal(by_opencv(data).reshape(values.shape), values)
    if smooth:
        assert len(data) < values.nbytes * 0.8


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("layout", [{}, {"compression": "zlib"}, {"compression": "zlib", "tile": (16, 16)}, "planes"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", *DEEP, "CMYK;16"])
def test_tiffs_of_all_layouts_are_read(mode, layout, byteorder):
    values = pixels(mode)
    options = {"photometric": {"R": "rgb", "C": "separated"}.get(mode[0], "minisblack"), "byteorder": byteorder}
    if "A" in mode:
        options["extrasamples"] = ["unassalpha"]
    written = values[..., 0] if values.shape[2] == 1 else values
    if layout == "planes":
        if values.shape[2] == 1:
            return
        options["planarconfig"], written = "separate", np.ascontiguousarray(values.transpose(2, 0, 1))
    else:
        options |= layout
        if values.shape[2] > 1:
            options["planarconfig"] = "contig"
    file = BytesIO()
    tifffile.imwrite(file, written, **options)
    photo = read_photo(file.getvalue())
    assert photo.mode == mode
    assert np.array_equal(photo.pixels, values)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBA;16", "LA;16"])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_tiffs_keep_what_their_fourth_channel_is(mode, kind):
    """Unspecified, an alpha that multiplies the colours, or one that does not."""
    values = pixels(mode)
    if kind == 1:
        values[..., :-1] //= 2
        values[..., -1] |= np.iinfo(values.dtype).max // 2 + 1
    file = BytesIO()
    photometric = "rgb" if mode[0] == "R" else "minisblack"
    tifffile.imwrite(file, values, photometric=photometric, extrasamples=[kind], planarconfig="contig")
    photo = read_photo(file.getvalue())
    assert photo.mode == mode
    assert np.array_equal(photo.pixels, values)
    with tifffile.TiffFile(BytesIO(encode_photo(photo))) as again:
        assert again.pages.first.extrasamples == (kind,)
        assert np.array_equal(again.asarray(), values)


@pytest.mark.parametrize("mode", ["RGB;16", "RGBA;16", "I;16", "RGB"])
def test_tiffs_of_opencv_with_lzw_are_read(mode):
    values = pixels(mode)
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(values.shape[2])
    data = cv2.imencode(".tif", values if order is None else cv2.cvtColor(values, order))[1].tobytes()
    photo = read_photo(data)
    assert photo.mode == mode
    assert np.array_equal(photo.pixels, values)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", *DEEP, "CMYK;16"])
def test_tiffs_are_written_for_others(mode):
    values = pixels(mode)
    data = encode_photo(Photo(values, mode), ".tif")
    with tifffile.TiffFile(BytesIO(data)) as file:
        assert np.array_equal(file.asarray().reshape(values.shape), values)
        assert file.pages.first.tags.get("Software") is None
    if mode not in DEEP[1:] and mode != "CMYK;16":
        assert np.array_equal(np.asarray(opened(data)).reshape(values.shape), values)


KINDS = [
    *[(mode, "PNG", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[(mode, "TIFF", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")],
    *[(mode, "BMP", {}) for mode in ("1", "L", "P", "RGB")],
    *[(mode, "WEBP", {"lossless": True, "exact": True}) for mode in ("RGB", "RGBA")],
    ("P", "GIF", {}),
    ("L", "GIF", {}),
    ("P", "PNG", {"transparency": 4}),
    ("P", "PNG", {"transparency": bytes([0, 90, 255, 7])}),
    ("P", "GIF", {"transparency": 4}),
    ("L", "PNG", {"transparency": 4}),
    ("RGB", "PNG", {"transparency": (1, 2, 3)}),
    ("1", "PNG", {"transparency": 1}),
    ("I;16", "PNG", {"transparency": 40000}),
]


def file_of(mode, form, options):
    values = pixels(mode)
    if mode == "P":
        return saved(pil("RGB", pixels("RGB")).quantize(100), form, **options)
    return saved(pil(mode, values), form, **options)


@pytest.mark.parametrize(("mode", "form", "options"), KINDS)
def test_lossless_files_keep_mode_depth_alpha_and_every_known_pixel(mode, form, options):
    """Both files as Pillow reads them."""
    data, hole = file_of(mode, form, options), some_hole(23, 31)
    photo = read_photo(data)
    before, unchanged = opened(data), opened(encode_photo(photo))
    assert photo.mode == before.mode
    filled = fill(photo, hole)
    after = opened(encode_photo(filled))
    assert after.mode == before.mode
    assert np.array_equal(np.asarray(unchanged), np.asarray(before))
    same = np.asarray(before) == np.asarray(after)
    same = same.all(axis=2) if same.ndim == 3 else same
    assert same[~hole].all()
    assert same[hole].all() == (mode == "1" and "transparency" in options)  # there, alpha is the colour
    assert check_storable(photo) == []
    if mode == "P":
        entries = 3 * photo.palette.used
        assert after.getpalette()[:entries] == before.getpalette()[:entries]
    shown = [np.asarray(image.convert("RGBA")) for image in (before, after) if mode != "I;16"]
    if shown:
        assert np.array_equal(shown[0][..., 3], shown[1][..., 3])
        assert np.array_equal(shown[0][~hole], shown[1][~hole])
    else:
        assert before.info.get("transparency") == after.info.get("transparency")


@pytest.mark.parametrize("mode", DEEP)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_come_back_at_their_own_depth(mode, suffix):
    photo, hole = Photo(pixels(mode), mode), some_hole(23, 31)
    filled = fill(read_photo(encode_photo(photo, suffix)), hole)
    again = read_photo(encode_photo(filled))
    assert again.mode == mode
    assert np.array_equal(again.pixels, filled.pixels)
    assert np.array_equal(again.pixels[~hole], photo.pixels[~hole])
    assert len(np.unique(again.pixels[hole][:, 0] % 257)) > 50


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_pngs_of_few_bits_keep_them(bits):
    levels = 2**bits - 1
    values = (np.arange(12 * 20).reshape(12, 20) % (levels + 1) * (255 // levels)).astype(np.uint8)
    data = saved(Image.fromarray(values), "PNG", bits=bits)
    assert data[24] == bits
    photo, hole = read_photo(data), some_hole(12, 20)
    again = encode_photo(fill(photo, hole))
    assert again[24] == bits
    assert np.array_equal(np.asarray(opened(again))[~hole], values[~hole])


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16"])
def test_pnm_is_read_and_written(mode):
    values = pixels(mode)
    data = encode_photo(Photo(values, mode), ".ppm")
    photo = read_photo(data)
    assert photo.mode == mode
    assert np.array_equal(photo.pixels, values)
    assert np.array_equal(np.asarray(opened(data)).reshape(values.shape), values)
    assert encode_photo(photo) == data


def test_palettes_of_few_bits_keep_them():
    image = pil("RGB", pixels("RGB")).quantize(11)
    data = saved(image, "PNG", bits=4)
    assert data[24] == 4
    again = encode_photo(fill(read_photo(data), some_hole(23, 31)))
    assert again[24] == 4


def test_a_bmp_with_alpha_is_read_by_others():
    values = pixels("RGBA")
    data = encode_photo(Photo(values, "RGBA"), ".bmp")
    assert np.array_equal(np.asarray(opened(data)), values)
    assert np.array_equal(by_opencv(data), values)
    assert np.array_equal(read_photo(data).pixels, values)


def test_cmyk_jpegs_are_not_turned_negative():
    image = pil("CMYK", np.full((16, 16, 4), (10, 100, 200, 30), np.uint8))
    data = saved(image, "JPEG", quality=95)
    assert b"Adobe" in data[:200]
    photo = read_photo(data)
    assert np.abs(photo.pixels.astype(int) - (10, 100, 200, 30)).max() <= 2
    again = encode_photo(photo)
    assert again.count(b"Adobe") == 1
    assert np.abs(np.asarray(opened(again)).astype(int) - (10, 100, 200, 30)).max() <= 2
    tiff = read_photo(encode_photo(photo, ".tif"))
    assert np.array_equal(tiff.pixels, photo.pixels)


@pytest.mark.parametrize("options", [
    {"quality": 60, "subsampling": 2},
    {"quality": 92, "subsampling": 1, "progressive": True},
    {"quality": 35, "subsampling": 0},
    {"quality": 90, "keep_rgb": True},
])  # fmt: skip
def test_jpegs_keep_tables_subsampling_and_progression(options):
    smooth = Image.linear_gradient("L").resize((90, 70)).convert("RGB")
    data = saved(smooth, "JPEG", **options)
    before, after = opened(data), opened(encode_photo(read_photo(data)))
    assert after.quantization == before.quantization
    assert after.layer == before.layer
    assert after.info.get("progressive") == before.info.get("progressive")
    assert after.info.get("adobe_transform") == before.info.get("adobe_transform")
    assert np.abs(np.asarray(after).astype(int) - np.asarray(before)).max() <= 3
    assert abs(len(encode_photo(read_photo(data))) - len(data)) < 0.1 * len(data)
    assert check_storable(read_photo(data)) == [
        "JPEG is lossy: known pixels are encoded again too, with the photo's own tables; .png keeps them"
    ]
    best = opened(encode_photo(read_photo(data), quality=100))
    assert max(best.quantization[0]) == 1
    assert best.layer == before.layer


def test_jpegs_with_a_table_for_each_channel_keep_them():
    tables = [[10] * 64, [20] * 64, [30] * 64]
    data = saved(pil("RGB", pixels("RGB")), "JPEG", qtables=tables)
    assert opened(encode_photo(read_photo(data))).quantization == {0: tables[0], 1: tables[1], 2: tables[2]}


def test_webp_stays_lossy_or_lossless():
    image = pil("RGBA", pixels("RGBA"))
    lossless, lossy = (saved(image, "WEBP", **options) for options in ({"lossless": True}, {"quality": 70}))
    assert check_storable(read_photo(lossless)) == []
    assert b"VP8L" in encode_photo(read_photo(lossless))
    assert check_storable(read_photo(lossy)) == [
        "WebP is lossy: known pixels are encoded again too, at quality 90; .png keeps them"
    ]
    assert b"VP8L" not in encode_photo(read_photo(lossy))
    assert b"VP8L" in encode_photo(from_pil(image), ".webp")
    assert b"VP8L" not in encode_photo(read_photo(lossless), quality=50)
    assert "at quality 50" in check_storable(read_photo(lossless), quality=50)[0]


def test_avif_keeps_its_subsampling():
    image = Image.linear_gradient("L").resize((90, 70)).convert("RGB")
    for sampling in ("4:4:4", "4:2:0"):
        data = saved(image, "AVIF", subsampling=sampling, quality=80)
        photo = read_photo(data)
        again = read_photo(encode_photo(photo))
        assert again.metadata.encoding["subsampling"] == sampling
        assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 2
    assert "AVIF is lossy" in check_storable(photo)[0]
    grey = read_photo(saved(Image.linear_gradient("L"), "AVIF"))
    assert grey.mode == "L"
    assert opened(encode_photo(grey)).mode == "L"


def test_heic_is_read_and_written():
    pytest.importorskip("pillow_heif")
    image = Image.linear_gradient("L").resize((90, 70)).convert("RGB")
    data = encode_photo(from_pil(image), ".heic", quality=95)
    photo = read_photo(data)
    assert photo.metadata.format == "HEIF"
    assert np.abs(photo.pixels.astype(int) - np.asarray(image)).max() <= 6
    again = read_photo(encode_photo(photo))
    assert np.abs(again.pixels.astype(int) - photo.pixels).max() <= 6
    assert "HEIC is lossy" in check_storable(photo)[0]


def test_heic_keeps_its_metadata():
    pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera", 6
    stored = Image.linear_gradient("L").resize((90, 70)).convert("RGB")
    source = read_photo(
        saved(
            stored,
            "JPEG",
            exif=exif,
            icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
            xmp=b"<x:xmpmeta/>",
        )
    )
    photo = read_photo(encode_photo(source, ".heic"))
    assert (photo.height, photo.width) == (90, 70)
    again = read_photo(encode_photo(photo))
    for each in (photo, again):
        assert (each.height, each.width) == (90, 70)
        assert each.metadata.icc == source.metadata.icc
        assert each.metadata.xmp == b"<x:xmpmeta/>"
        assert b"A camera" in each.metadata.exif
    assert opened(encode_photo(again, ".jpg")).getexif().get(0x0112, 1) == 1


ACROSS = [
    ("1", ".bmp", "1"), ("1", ".jpg", "L"), ("1", ".webp", "RGB"), ("1", ".gif", "L"),
    ("L", ".webp", "RGB"), ("LA", ".webp", "RGBA"), ("LA", ".bmp", "RGBA"), ("LA", ".tif", "LA"),
    ("P", ".jpg", "RGB"), ("P", ".webp", "RGB"), ("P", ".tif", "P"), ("P", ".bmp", "P"),
    ("I;16", ".tif", "I;16"), ("RGB;16", ".tif", "RGB;16"), ("YCbCr", ".png", "RGB"), ("RGBA", ".avif", "RGBA"),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "suffix", "stored"), ACROSS)
def test_other_formats_hold_it_in_a_wider_mode(tmp_path, mode, suffix, stored):
    if mode == "RGB;16":
        photo = Photo(pixels(mode), mode)
    else:
        smooth = Image.linear_gradient("L").resize((31, 23))
        image = pil(mode, pixels(mode)) if mode in ("I;16", "LA", "RGBA") else smooth.convert(mode)
        if mode == "P":
            image = pil("RGB", pixels("RGB")).quantize(200)
        photo = from_pil(image)
    write_photo(photo, tmp_path / f"out{suffix}")
    again = read_photo(tmp_path / f"out{suffix}")
    assert again.mode == stored
    if suffix not in (".jpg", ".avif") and mode != "RGB;16" and mode != "I;16":
        assert np.array_equal(np.asarray(again.to_pil().convert("RGBA")), np.asarray(image.convert("RGBA")))
    elif suffix == ".tif":
        assert np.array_equal(again.pixels, photo.pixels)


def test_transparent_palettes_and_colours_become_alpha_elsewhere():
    image = pil("RGB", pixels("RGB")).quantize(8)
    for form, options in (("PNG", {"transparency": bytes([0, 128])}), ("GIF", {"transparency": 3})):
        data = saved(image, form, **options)
        for suffix in (".webp", ".tif", ".bmp", ".png"):
            again = opened(encode_photo(read_photo(data), suffix))
            assert np.array_equal(np.asarray(again.convert("RGBA")), np.asarray(opened(data).convert("RGBA"))), suffix
    keyed = saved(pil("RGB", np.repeat(pixels("L"), 3, axis=2)), "PNG", transparency=(9, 9, 9))
    again = opened(encode_photo(read_photo(keyed), ".webp"))
    assert np.array_equal(np.asarray(again), np.asarray(opened(keyed).convert("RGBA")))


def test_an_alpha_that_hides_nothing_is_left_out_where_there_is_no_place_for_it():
    opaque = pixels("RGBA")
    opaque[..., 3] = 255
    assert read_photo(encode_photo(Photo(opaque, "RGBA"), ".jpg")).mode == "RGB"
    assert read_photo(encode_photo(Photo(opaque, "RGBA"), ".png")).mode == "RGBA"


@pytest.mark.parametrize(
    ("mode", "suffix", "what"),
    [
        ("I;16", ".jpg", "16 bits per channel"),
        ("RGB;16", ".webp", "16 bits per channel"),
        ("RGBA", ".jpg", "transparency"),
        ("LA", ".jpeg", "transparency"),
        ("CMYK", ".png", "CMYK inks"),
        ("CMYK", ".webp", "CMYK inks"),
        ("RGB", ".gif", "many colours"),
        ("RGBA", ".gif", "many colours"),
    ],
)
def test_what_a_format_cannot_hold_is_said_before_any_work(mode, suffix, what):
    photo = Photo(pixels(mode), mode)
    with pytest.raises(InputError, match=f"cannot hold the {what} of this photo.*; .*can"):
        check_storable(photo, suffix)
    with pytest.raises(InputError, match=f"cannot hold the {what}"):
        encode_photo(photo, suffix)


def test_other_limits_are_said():
    photo = Photo(pixels("RGB"), "RGB")
    with pytest.raises(InputError, match=r"suffix '\.xyz'; use one of \.png"):
        check_storable(photo, ".xyz")
    with pytest.raises(InputError, match="comes from no file"):
        check_storable(photo)
    with pytest.raises(InputError, match="PNG is lossless and has no quality"):
        check_storable(photo, ".png", 90)
    with pytest.raises(InputError, match="from 1 to 100, not 101"):
        check_storable(photo, ".jpg", 101)
    with pytest.raises(InputError, match="WebP cannot hold 20000x1 pixels"):
        check_storable(Photo(np.zeros((1, 20000, 3), np.uint8), "RGB"), ".webp")
