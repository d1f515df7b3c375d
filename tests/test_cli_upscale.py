"""``pconv upscale``: formats, metadata and errors as those of ``pconv inpaint``."""

import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from click.testing import CliRunner
from PIL import Image, ImageCms, PngImagePlugin

from pconv import Inpainter, PConvUNet, UNetConfig, read_photo, write_photo
from pconv.cli import main
from pconv.images import ifd
from pconv.images.codecs.png import chunks, with_chunks
from pconv.images.photo import Photo
from pconv.images.pillow import xmp_of
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


XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/"
xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="kept"
exif:PixelXDimension="30" tiff:ImageWidth='30'><exif:PixelYDimension>20</exif:PixelYDimension>
<tiff:ImageLength>20</tiff:ImageLength></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


@pytest.mark.parametrize("kind", ["a.jpg", "a.png", "packed.png", "a.webp", "a.tif"])
def test_xmp_stays_without_the_old_size(upscale, kind):
    suffix = kind.partition(".")[2]
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=kind == "packed.png")
    own = {"png": {"pnginfo": texts}, "tif": {"tiffinfo": {700: XMP}}}
    scene().save(kind, **own.get(suffix, {"xmp": XMP}))
    for form in (suffix, "png"):
        result = upscale(kind, "--factor", 2, "-o", f"out.{form}")
        assert result.exit_code == 0, result.output
        packet = ElementTree.fromstring(xmp_of(Image.open(f"out.{form}")))
        (description,) = packet.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
        assert description.attrib == {"{http://purl.org/dc/elements/1.1/}format": "kept"}
        assert not list(description)


def ground_of_middle(tags, column, row):
    """Where the middle of a pixel lies, by GeoTIFF's rules, from tags as tifffile reads them."""
    keys = np.reshape(tags["GeoKeyDirectoryTag"], (-1, 4)).tolist()
    shift = 0 if [1025, 0, 1, 2] in keys else 0.5
    place = np.array([column + shift, row + shift, 0, 1])
    if "ModelTransformationTag" in tags:
        return (np.reshape(tags["ModelTransformationTag"], (4, 4)) @ place)[:2]
    across, down, _ = tags["ModelPixelScaleTag"]
    *tie, _, x, y, _ = tags["ModelTiepointTag"]
    return np.array([x + (place[0] - tie[0]) * across, y - (place[1] - tie[1]) * down])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("raster_type", [1, 2], ids=["area", "point"])
@pytest.mark.parametrize("how", ["scale", "matrix"])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_geotiff_lies_where_it_lay(upscale, factor, how, raster_type, order):
    keys = [1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, raster_type]
    places: list[tuple[int, int, list[float]]] = [
        (33550, 12, [10.0, 20.0, 1.0]),
        (33922, 12, [3.0, 4.0, 0.0, 500000.0, 6000000.0, 0.0]),
    ]
    if how == "matrix":
        places = [(34264, 12, [8.0, 6.0, 0.0, 500000.0, 6.0, -8.0, 0.0, 6000000.0, *[0.0] * 7, 1.0])]
    tags = [*((code, kind, len(values), values, True) for code, kind, values in places), (34735, 3, 12, keys, True)]
    tifffile.imwrite("a.tif", np.asarray(scene()), extratags=tags, byteorder=order)
    assert upscale("a.tif", "--factor", factor, "-o", "out.tif").exit_code == 0
    with tifffile.TiffFile("a.tif") as before, tifffile.TiffFile("out.tif") as after:
        old, new = ({tag.name: tag.value for tag in each.pages[0].tags} for each in (before, after))
    middle = (factor - 1) / 2  # of the large pixels that a small one becomes
    for column, row in ((0, 0), (7, 2), (29, 19)):
        expected = ground_of_middle(old, column, row)
        assert ground_of_middle(new, factor * column + middle, factor * row + middle) == pytest.approx(
            expected, rel=0, abs=1e-6
        )
    assert new["ImageWidth"] == 30 * factor


def test_rational_polynomials_of_a_geotiff_give_the_enlarged_places(upscale):
    before = np.arange(92.0)
    tifffile.imwrite("a.tif", np.asarray(scene()), extratags=[(50844, 12, 92, before.tolist(), True)])
    assert upscale("a.tif", "--factor", 3, "-o", "out.tif").exit_code == 0
    with tifffile.TiffFile("out.tif") as file:
        after = np.asarray(file.pages[0].tags[50844].value)
    places = after[[2, 3]] + after[[7, 8]] * 0.25  # a normalised row and column of 0.25
    assert places == pytest.approx(3 * (before[[2, 3]] + before[[7, 8]] * 0.25) + 1)
    rest = np.setdiff1d(np.arange(92), [2, 3, 7, 8])
    assert np.array_equal(after[rest], before[rest])


def test_a_chunk_on_the_size_of_pixels_goes(upscale):
    scene().save("a.png")
    own = list(chunks(Path("a.png").read_bytes()))
    added = [(b"sCAL", b"\x011.5\x001.5"), (b"tEXt", b"Title\0kept"), (b"IDAT", b"")]
    Path("a.png").write_bytes(with_chunks(own, added))
    assert upscale("a.png", "--factor", 2, "-o", "out.png").exit_code == 0
    names = [name for name, _ in chunks(Path("out.png").read_bytes())]
    assert b"sCAL" not in names
    assert b"tEXt" in names


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
