"""``pconv inpaint`` on photos as people have them."""

import re
from io import BytesIO

import numpy as np
import pytest
from click.testing import CliRunner
from kinds import opened, pixels, saved
from PIL import Image, ImageDraw

from pconv.cli import main
from pconv.images.photo import Photo
from pconv.images.reading import read_photo
from pconv.images.writing import encode_photo


def pconv(*arguments):
    result = CliRunner().invoke(main, ["inpaint", *[str(a) for a in arguments]])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def notes(result):
    assert result.exit_code == 0, result.output
    return re.findall(r"^note: (.*)$", result.stderr, re.M)


def scene(height=60, width=80):
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    ImageDraw.Draw(image).ellipse((20, 10, 60, 40), fill=(30, 90, 200))
    return image


@pytest.fixture
def mask(tmp_path):
    marked = np.zeros((60, 80), bool)
    marked[28:33, 10:70] = True
    Image.fromarray(marked).save(tmp_path / "mask.png")
    return marked


def deep(height=60, width=80):
    return Photo(np.asarray(scene(height, width)).astype(np.uint16) * 257 + 3, "RGB;16")


@pytest.mark.parametrize(
    ("name", "make", "mode"),
    [
        ("a.png", lambda: saved(scene().convert("LA"), "PNG"), "LA"),
        ("a.png", lambda: saved(scene().quantize(40), "PNG"), "P"),
        ("a.gif", lambda: saved(scene().quantize(40), "GIF"), "P"),
        ("a.bmp", lambda: saved(scene().convert("1"), "BMP"), "1"),
        ("a.tif", lambda: saved(scene().convert("CMYK"), "TIFF", compression="tiff_lzw"), "CMYK"),
        ("a.webp", lambda: saved(scene(), "WEBP", lossless=True), "RGB"),
        ("a.png", lambda: encode_photo(deep(), ".png"), "RGB;16"),
        ("a.tif", lambda: encode_photo(deep(), ".tif"), "RGB;16"),
    ],
)
def test_the_result_is_of_the_photos_kind(tmp_path, mask, name, make, mode):
    (tmp_path / name).write_bytes(make())
    result = pconv(tmp_path / name, tmp_path / "mask.png", "-o", tmp_path / f"out-{name}")
    assert notes(result) == []
    before, after = read_photo(tmp_path / name), read_photo(tmp_path / f"out-{name}")
    assert after.mode == before.mode == mode
    assert np.array_equal(after.pixels[~mask], before.pixels[~mask])
    assert mode == "1" or not np.array_equal(after.pixels[mask], before.pixels[mask])
    if mode == "RGB;16":
        assert len(np.unique(after.pixels[mask] % 257)) > 100  # filled at its own depth


def test_transparent_holes_become_opaque(tmp_path):
    values = np.dstack([np.asarray(scene()), np.full((60, 80), 255, np.uint8)])
    values[10:20, 30:50] = 0
    Image.fromarray(values).save(tmp_path / "a.png")
    assert notes(pconv(tmp_path / "a.png", "--hole", "alpha", "-o", tmp_path / "out.png")) == []
    after = np.asarray(Image.open(tmp_path / "out.png"))
    assert (after[..., 3] == 255).all()
    assert after[10:20, 30:50, :3].min() > 0
    assert np.array_equal(np.delete(after, range(10, 20), axis=0), np.delete(values, range(10, 20), axis=0))


def test_painted_and_boxed_holes_need_no_mask(tmp_path):
    values = np.asarray(scene()).copy()
    values[40:44, 5:75] = (255, 0, 255)
    Image.fromarray(values).save(tmp_path / "a.png")
    out = tmp_path / "out.png"
    options = ["--hole", "color:#ff00ff", "--hole", "rect:2,2,10,5", "--grow", 1]
    assert notes(pconv(tmp_path / "a.png", *options, "-o", out)) == []
    after = np.asarray(Image.open(out))
    hole = np.zeros((60, 80), bool)
    hole[39:45, 5:75] = hole[40:44, 4:76] = hole[1:8, 2:12] = hole[2:7, 1:13] = True
    assert np.array_equal(after[~hole], values[~hole])
    assert (after[39:45, 5:75, 1] > 0).all()


def test_feathering_stays_inside_of_the_hole(tmp_path, mask):
    saved_scene = np.asarray(scene())
    scene().save(tmp_path / "a.png")
    results = []
    for feather in (0, 2):
        pconv(tmp_path / "a.png", tmp_path / "mask.png", "--feather", feather, "-o", tmp_path / "out.png")
        results.append(np.asarray(Image.open(tmp_path / "out.png")).astype(int))
    plain, soft = (np.abs(result - saved_scene) for result in results)
    assert not soft[~mask].any()
    assert soft[28, 10:70].mean() < plain[28, 10:70].mean()
    assert np.array_equal(results[0][30, 20:60], results[1][30, 20:60])  # beyond the feather, the fill alone


def test_a_phones_photo_keeps_its_orientation_and_the_mask_may_lie_either_way(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene().save(tmp_path / "a.jpg", exif=exif, quality=90)
    marked = np.zeros((60, 80), np.uint8)
    marked[25:35, 30:40] = 255
    for name, stored in (("stored.png", marked), ("upright.png", np.rot90(marked, -1))):
        Image.fromarray(stored).save(tmp_path / name)
    said = [
        notes(pconv(tmp_path / "a.jpg", tmp_path / name, "-o", tmp_path / f"{name}.jpg"))
        for name in ("stored.png", "upright.png")
    ]
    assert "lies as the photo is stored: turned like it" in said[0][1]
    assert said[0][:1] == said[1]
    first, second = (tmp_path / f"{name}.jpg" for name in ("stored.png", "upright.png"))
    assert first.read_bytes() == second.read_bytes()
    after = opened(first.read_bytes())
    assert after.size == (80, 60)
    assert after.getexif()[0x0112] == 6


def test_what_is_lost_is_said(tmp_path, mask):
    frames = [scene(), scene().rotate(90, expand=False)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True, exif=b"Exif\0\0II*\0")
    said = notes(pconv(tmp_path / "a.webp", tmp_path / "mask.png", "-o", tmp_path / "out.bmp"))
    assert said == ["animated: only the first of 2 frames is kept", "BMP has no place for the photo's EXIF"]


def test_quality_is_obeyed(tmp_path, mask):
    image = Image.fromarray(pixels("RGB", 60, 80))
    image.save(tmp_path / "a.jpg", quality=80)
    sizes = {}
    for quality in (20, None, 98):
        option = [] if quality is None else ["--quality", quality]
        said = notes(pconv(tmp_path / "a.jpg", tmp_path / "mask.png", *option, "-o", tmp_path / "out.jpg"))
        assert ("with the photo's own tables" if quality is None else f"at quality {quality}") in said[0]
        sizes[quality] = len((tmp_path / "out.jpg").read_bytes())
    assert sizes[20] < sizes[None] < sizes[98]
    assert (
        opened(encode_photo(read_photo(tmp_path / "a.jpg"))).quantization
        == opened((tmp_path / "a.jpg").read_bytes()).quantization
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.png", "-o", "out.png"], 2, "nothing says where the hole is; give a MASK, or --hole"),
        (["a.png", "--hole", "alpha", "--invert", "-o", "out.png"], 2, "--invert is about MASK"),
        (["a.png", "--hole", "blue", "-o", "out.png"], 2, "'blue' says no hole; say alpha, color:#ff00ff"),
        (["a.png", "--hole", "alpha", "-o", "out.png"], 1, "the photo (RGB) has no transparency"),
        (["a.png", "--hole", "rect:90,0,5,5", "-o", "out.png"], 1, "lies outside of the photo of 80x60"),
        (["a.png", "mask.png", "--quality", "90", "-o", "out.png"], 2, "PNG is lossless and has no quality"),
        (["a.png", "mask.png", "--quality", "0", "-o", "out.jpg"], 2, "0 is not in the range"),
        (["a.png", "mask.png", "--grow", "-1", "-o", "out.png"], 2, "-1 is not in the range"),
        (["deep.png", "mask.png", "-o", "out.jpg"], 2, "JPEG cannot hold the 16 bits per channel"),
        (["a.png", "mask.png", "-o", "out.gif"], 2, "GIF cannot hold the many colours"),
        (["huge.png", "mask.png", "-o", "out.png"], 1, "has 100000x100000 pixels, more than the 179 million"),
        (["float.tif", "mask.png", "-o", "out.png"], 1, "32-bit floating-point values, which cannot be filled"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(tmp_path, monkeypatch, mask, arguments, code, message):
    from test_refusals import png_header

    monkeypatch.chdir(tmp_path)
    scene().save("a.png")
    (tmp_path / "deep.png").write_bytes(encode_photo(deep(), ".png"))
    (tmp_path / "huge.png").write_bytes(png_header(100000, 100000))
    Image.new("F", (80, 60)).save("float.tif")
    result = pconv(*arguments)
    assert result.exit_code == code, result.output
    sentence = result.output.strip().splitlines()[-1]
    assert sentence.startswith("Error: ")
    assert message in sentence
    assert not list(tmp_path.glob("out*"))


def test_a_hole_that_holds_nothing_gives_the_photo_as_it_was(tmp_path):
    scene().save(tmp_path / "a.png")
    said = notes(pconv(tmp_path / "a.png", "--hole", "color:#00ff00", "-o", tmp_path / "out.png"))
    assert said == [f"the holes come to nothing to fill; {tmp_path / 'out.png'} is the photo as it was"]
    before, after = (opened((tmp_path / name).read_bytes()) for name in ("a.png", "out.png"))
    assert np.array_equal(np.asarray(before), np.asarray(after))


def test_readers_mutterings_are_not_for_users(tmp_path, mask, capfd):
    """Pillow warns of broken EXIF data, tifffile logs it; the photo is filled, and that is all."""
    file = BytesIO()
    scene().save(file, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02", quality=90)
    (tmp_path / "a.jpg").write_bytes(file.getvalue())
    result = pconv(tmp_path / "a.jpg", tmp_path / "mask.png", "-o", tmp_path / "out.jpg")
    assert len(notes(result)) == len(result.stderr.splitlines()) == 1
    assert capfd.readouterr().err == ""
