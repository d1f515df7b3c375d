"""The reader of photos as training, evaluation and the mask tools use it: colours, sizes, folders."""

import io
import sys

import numpy as np
import pytest
from kinds import pil, pixels, saved
from PIL import Image, ImageOps

from pconv.errors import ImageFileError, InputError
from pconv.images.photo import Photo
from pconv.images.reading import find_photos, photo_size, read_photo
from pconv.images.writing import encode_photo


def gradient(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, np.zeros_like(x)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp", ".ppm"])
def test_rgb_is_what_pillow_shows(suffix):
    for mode in ("1", "L", "RGB"):
        data = encode_photo(Photo(pixels(mode), mode), suffix)
        assert np.array_equal(read_photo(data).rgb(), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))), mode


def test_rgb_of_palettes_alpha_and_16_bits():
    image = pil("RGB", pixels("RGB")).quantize(100)
    assert np.array_equal(read_photo(saved(image, "PNG")).rgb(), np.asarray(image.convert("RGB")))
    values = pixels("RGBA")
    assert np.array_equal(Photo(values, "RGBA").rgb(), values[..., :3])
    deep = pixels("RGB;16")
    assert np.array_equal(Photo(deep, "RGB;16").rgb(), (deep / 257).round().astype(np.uint8))
    assert (read_photo(saved(Image.fromarray(np.full((9, 9), 0x8000, np.uint16)), "PNG")).rgb() == 0x80).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright_and_so_do_their_sizes(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(gradient(24, 40)), form, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_photo(data).rgb(), upright)
    assert photo_size(data) == upright.shape[:2]


def test_a_photo_with_broken_exif_is_readable_and_upright():
    """Orientation 6, and a maker's name that is said to be a number: Pillow's own transposition fails on it."""
    exif = bytes.fromhex(
        "45786966 0000 4d4d002a 00000008 0002"
        "010f 000c 00000001 00000026  0112 0003 00000001 0006 0000  00000000  3fe0000000000000"
    )
    data = saved(Image.fromarray(gradient(16, 32)), "JPEG", exif=exif)
    with Image.open(io.BytesIO(data)) as image, pytest.raises(AttributeError):
        ImageOps.exif_transpose(image)
    assert photo_size(data) == (32, 16)
    assert read_photo(data).rgb().shape == (32, 16, 3)


def test_a_jpeg_may_be_decoded_smaller_and_other_formats_come_whole():
    image = Image.fromarray(gradient(801, 602))
    data = saved(image, "JPEG", quality=95)
    small, whole = read_photo(data, shrink=4), read_photo(data)
    assert small.pixels.shape == (201, 151, 3)
    assert whole.pixels.shape == (801, 602, 3)
    assert np.abs(small.rgb()[50, 50].astype(int) - whole.rgb()[201, 201]).max() < 4
    assert read_photo(saved(image, "PNG"), shrink=4).pixels.shape == (801, 602, 3)
    assert photo_size(data) == (801, 602)


def test_the_size_needs_the_header_alone(tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(saved(Image.fromarray(pixels("RGB", 200, 100)), "PNG")[:400])
    assert photo_size(path) == (200, 100)
    with pytest.raises(ImageFileError, match="damaged"):
        read_photo(path)
    with pytest.raises(ImageFileError, match="not an image"):
        photo_size(b"nonsense")


def test_photos_are_found_in_all_folders(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.JPG", "1.avif", "notes.txt", "3.heic"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_photos(tmp_path)] == ["1.avif", "3.heic", "2.JPG"]
    (tmp_path / "b" / "._2.JPG").write_bytes(b"")  # macOS's, beside each file on other disks
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash" / "4.png").write_bytes(b"")
    assert [path.name for path in find_photos(tmp_path)] == ["1.avif", "3.heic", "2.JPG"]
    with pytest.raises(InputError, match="no folder of photos at"):
        find_photos(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no masks \(\.png, \.jpg.*\) below"):
        find_photos(tmp_path / "empty", "masks")


def test_what_a_folder_leaves_out_is_counted_and_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in ("a.png", "b.heic", "c.HEIC", *(f"{number:02}.txt" for number in range(12))):
        (tmp_path / name).write_bytes(b"")
    notes = []
    assert [path.name for path in find_photos(tmp_path, note=notes.append)] == ["a.png"]
    heic, others = notes
    assert "(2): b.heic, c.HEIC; " in heic
    assert "pip install pillow-heif" in heic
    assert "(12): 00.txt, " in others
    assert "and 2 more" in others
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"no photos .*b\.heic.*pip install pillow-heif"):
        find_photos(tmp_path)
