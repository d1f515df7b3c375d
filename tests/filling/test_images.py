import numpy as np
import pytest
from PIL import Image

from pconv.errors import ImageFileError, InputError
from pconv.filling.images import hole_from_image, read_hole, read_image, write_image


def test_masks_are_read_at_half_grey_in_any_mode(tmp_path):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = ramp >= 128
    grey = Image.fromarray(ramp)
    for name, image in {
        "grey.png": grey,
        "colour.png": grey.convert("RGB"),
        "alpha.png": grey.convert("LA"),
        "palette.png": grey.convert("P"),
        "deep.png": Image.fromarray(ramp.astype(np.uint16) * 257),
        "bilevel.png": Image.fromarray(expected),
        "lossless.webp": grey.convert("RGB"),
    }.items():
        image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        assert np.array_equal(read_hole(tmp_path / name), expected), name
        assert np.array_equal(read_hole(tmp_path / name, invert=True), ~expected), name


def test_a_phones_photo_is_turned_upright(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    assert image.size == (10, 20)
    assert np.array_equal(np.asarray(image), np.rot90(pixels, -1))
    write_image(image, tmp_path / "again.png")
    assert np.array_equal(np.asarray(read_image(tmp_path / "again.png")), np.rot90(pixels, -1))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".bmp"])
def test_lossless_formats_return_every_pixel(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    write_image(Image.fromarray(pixels), tmp_path / f"a{suffix}")
    assert np.array_equal(np.asarray(Image.open(tmp_path / f"a{suffix}")), pixels)


def test_the_colour_profile_and_exif_survive(tmp_path):
    image = Image.new("RGB", (8, 8))
    image.info["icc_profile"] = b"a profile"
    image.getexif()[0x010E] = "a description"
    for name in ("a.png", "a.jpg", "a.webp", "a.tif"):
        write_image(image, tmp_path / name)
        again = Image.open(tmp_path / name)
        assert again.info["icc_profile"] == b"a profile", name
        assert again.getexif()[0x010E] == "a description", name


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_modes_that_a_format_lacks_are_widened(tmp_path, suffix, mode):
    image = Image.linear_gradient("L").resize((20, 10)).convert(mode)
    write_image(image, tmp_path / f"a{suffix}")
    again = Image.open(tmp_path / f"a{suffix}")
    difference = np.abs(np.asarray(again.convert("RGB"), int) - np.asarray(image.convert("RGB"), int))
    assert difference.max() <= (12 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02"])
def test_broken_exif_costs_the_exif_and_not_the_photo(tmp_path, exif):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    image = read_image(tmp_path / "a.jpg")
    write_image(image, tmp_path / "b.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), np.asarray(image))


def test_what_is_transparent_in_a_mask_is_no_hole():
    layer = np.full((2, 2, 4), 255, np.uint8)
    layer[0, 0, 3] = 0
    layer[0, 1, :3] = 0
    assert hole_from_image(Image.fromarray(layer)).tolist() == [[False, False], [True, True]]


def test_a_mask_without_a_known_white_is_refused():
    with pytest.raises(InputError, match="mode 'LAB' has no known white"):
        hole_from_image(Image.new("LAB", (4, 4)))


def test_transparent_colours_survive_webp(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    write_image(Image.fromarray(pixels), tmp_path / "a.webp")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.webp")), pixels)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ImageFileError, match=r"text.png is not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(ImageFileError, match=r"cannot read .*missing.png: No such file"):
        read_image(tmp_path / "missing.png")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.webp"):
        Image.fromarray(pixels).save(tmp_path / name)
        (tmp_path / f"cut-{name}").write_bytes((tmp_path / name).read_bytes()[:-2000])
        with pytest.raises(ImageFileError, match=f"cut-{name}"):
            read_image(tmp_path / f"cut-{name}")


def test_files_that_cannot_be_written(tmp_path):
    image = Image.new("RGBA", (4, 4), (1, 2, 3, 0))
    with pytest.raises(InputError, match=r"suffix '\.xyz'; use one of \.png"):
        write_image(image, tmp_path / "a.xyz")
    with pytest.raises(InputError, match="JPEG cannot hold the transparency"):
        write_image(image, tmp_path / "a.jpg")
    for mode, name, what in (
        ("I;16", "a.jpg", "16 bits"),
        ("I;16", "a.webp", "16 bits"),
        ("RGBA", "a.bmp", "transparency"),
        ("LA", "a.bmp", "transparency"),
        ("CMYK", "a.png", "mode CMYK"),
        ("CMYK", "a.webp", "mode CMYK"),
        ("F", "a.tif", "mode F"),
    ):
        with pytest.raises(InputError, match=f"cannot hold the {what}"):
            write_image(Image.new(mode, (4, 4)), tmp_path / name)
    with pytest.raises(ImageFileError, match="cannot write"):
        write_image(image, tmp_path / "missing" / "a.png")
    assert list(tmp_path.iterdir()) == []
