"""``pconv upscale``: formats, metadata and errors as those of ``pconv inpaint``."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageCms

from pconv import Inpainter, PConvUNet, UNetConfig, read_photo, write_photo
from pconv.cli import main
from pconv.images import ifd
from pconv.images.photo import Photo
from pconv.nn.onnx_export import save_onnx

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two untrained models: one whose recipe says that it is for super-resolution, and one for holes."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    network = PConvUNet(UNetConfig((8, 8), (3, 3), surface="correction", surface_skip=True)).eval()
    for holes in ("superres", "mixed"):
        save_onnx(network, folder / f"{holes}.onnx", {"config": {"stages": [{"holes": holes}]}})
    return folder


@pytest.fixture
def upscale(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model=models / "superres.onnx"):
        result = CliRunner().invoke(main, ["upscale", *map(str, arguments), "--model", str(model)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def scene(mode="RGB"):
    return Image.linear_gradient("L").resize((30, 20)).convert("RGB").rotate(30).convert(mode)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_file_holds_what_python_gives(upscale, models, factor):
    scene().save("a.png")
    result = upscale("a.png", "--factor", factor, "-o", "out.png", "--verbose")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"{models / 'superres.onnx'} with onnxruntime on cpu in fp32")
    expected = Inpainter(models / "superres.onnx").upscale(np.asarray(scene()), factor)
    assert np.array_equal(np.asarray(Image.open("out.png")), expected)


def test_16_bits_and_alpha_stay(upscale):
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, 4), dtype=np.uint16)
    for suffix in (".png", ".tif"):
        write_photo(Photo(values, "RGBA;16"), Path(f"a{suffix}"))
        assert upscale(f"a{suffix}", "--factor", 2, "-o", f"out{suffix}").output == ""
        large = read_photo(Path(f"out{suffix}"))
        assert (large.mode, large.pixels.shape) == ("RGBA;16", (40, 60, 4))


def exif_of_a_turned_photo(width, height):
    inner = (ifd.Entry(0xA002, 4, struct.pack("<I", width)), ifd.Entry(0xA003, 3, struct.pack("<H", height)))
    entries = [
        ifd.Entry(0x010F, 2, b"A camera\0"),
        ifd.Entry(0x0112, 3, struct.pack("<H", 6)),
        ifd.Entry(0x8769, 4, bytes(4), inside=inner),
    ]
    return b"Exif\0\0" + ifd.structure(entries, "<")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_metadata_stay_and_sizes_are_those_of_the_result(upscale, suffix):
    scene().save("a.jpg", exif=exif_of_a_turned_photo(30, 20), icc_profile=SRGB, dpi=(300, 300), quality=95)
    result = upscale("a.jpg", "--factor", 3, "-o", f"out.{suffix}")
    assert result.exit_code == 0, result.output
    large = Image.open(f"out.{suffix}")
    kept = suffix == "jpg"  # in its own format a photo is stored as it lay
    assert large.size == ((90, 60) if kept else (60, 90))
    tags = large.getexif()
    assert tags.get(0x0112, 1) == (6 if kept else 1)
    assert tags[0x010F] == "A camera"
    assert large.info["icc_profile"] == SRGB
    if suffix != "webp":
        assert tuple(map(round, large.info["dpi"])) == (300, 300)
    inner = tags.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == large.size
    assert ("note: JPEG is lossy: pixels are encoded with the photo's own tables" in result.stderr) == kept


def test_palettes_become_colours_and_say_so(upscale):
    scene().quantize(16).save("a.png", bits=4)
    result = upscale("a.png", "--factor", 2, "-o", "out.png")
    assert (
        result.stderr == "note: the photo has a palette, and the enlarged one has mode RGB, for the colours between\n"
    )
    assert Image.open("out.png").mode == "RGB"
    refused = upscale("a.png", "--factor", 2, "-o", "out.gif")
    assert refused.exit_code == 2
    assert "GIF cannot hold the many colours" in refused.output


def test_greys_of_few_bits_become_greys_of_eight(upscale):
    scene("L").point(lambda value: value // 64 * 85).save("a.png", bits=2)
    upscale("a.png", "--factor", 4, "-o", "out.png")
    assert len(np.unique(np.asarray(Image.open("out.png")))) > 16


def test_a_model_for_holes_gets_a_note(upscale, models):
    scene().save("a.png")
    result = upscale("a.png", "--factor", 2, "-o", "out.png", model=models / "mixed.onnx")
    assert result.exit_code == 0
    assert "mixed.onnx was trained to fill holes, not for super-resolution" in result.stderr


def test_the_photo_is_replaced_only_by_force(upscale):
    scene().save("a.png")
    refused = upscale("a.png", "--factor", 2, "-o", "a.png")
    assert refused.exit_code == 2
    assert "a.png would overwrite the input a.png; add --force if that is meant" in refused.output
    assert Image.open("a.png").size == (30, 20)
    assert upscale("a.png", "--factor", 2, "-o", "a.png", "--force").exit_code == 0
    assert Image.open("a.png").size == (60, 40)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.png", "-o", "out.png"], 2, "Missing option '--factor'"),
        (["a.png", "--factor", "5", "-o", "out.png"], 2, "5 is not in the range 2<=x<=4"),
        (["missing.png", "--factor", "2", "-o", "out.png"], 2, "the photo missing.png does not exist"),
        ([".", "--factor", "2", "-o", "out.png"], 2, "the photo . is a folder, not a file"),
        (["a.png", "--factor", "2", "-o", "out.xyz"], 2, "xyz"),
        (["a.png", "--factor", "2", "-o", "nowhere/out.png"], 2, "nowhere does not exist"),
        (["a.png", "--factor", "2", "-o", "out.png", "--quality", "90"], 2, "PNG is lossless and has no quality"),
        (["text.png", "--factor", "2", "-o", "out.png"], 1, "text.png is not an image of a known format"),
        (["inks.tif", "--factor", "2", "-o", "out.tif"], 2, "photos in CMYK are not enlarged"),
        (["wide.png", "--factor", "4", "-o", "out.webp"], 2, "WebP cannot hold 20000x8 pixels (at most 16383 a side)"),
        (["large.png", "--factor", "4", "-o", "out.png"], 2, "16000x12000, more than the 179 million"),
        (["a.png", "--factor", "2", "-o", "out.png", "--device", "cuda"], 2, "use --backend onnxruntime"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(upscale, tmp_path, arguments, code, message):
    scene().save("a.png")
    scene("CMYK").save("inks.tif")
    Image.new("L", (5000, 2)).save("wide.png")
    Image.new("1", (4000, 3000)).save("large.png")
    (tmp_path / "text.png").write_text("no image")
    result = upscale(*arguments)
    assert result.exit_code == code, result.output
    sentence = result.output.strip().splitlines()[-1]
    assert sentence.startswith("Error: ")
    assert message in sentence
    assert not list(tmp_path.glob("out*"))


def test_an_unknown_model_is_wrong_usage(upscale):
    scene().save("a.png")
    result = upscale("a.png", "--factor", "2", "-o", "out.png", model="superb")
    assert result.exit_code == 2
    assert "unknown model 'superb'" in result.output
