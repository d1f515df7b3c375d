import numpy as np
import pytest
from PIL import Image

from pconv.errors import ImageFileError, InputError
from pconv.filling.images import read_hole, read_image, write_image


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
    with pytest.raises(InputError, match="JPEG cannot hold the 16 bits"):
        write_image(Image.new("I;16", (4, 4)), tmp_path / "a.jpg")
    with pytest.raises(ImageFileError, match="cannot write"):
        write_image(image, tmp_path / "missing" / "a.png")
    assert list(tmp_path.iterdir()) == []
