"""The page of ``pconv page``: the same editor, and the fill computed by the browser."""

import base64
import functools
import io
import itertools
import re
import shutil
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import missing, nginx
from desk import Desk, pixels_of
from PIL import Image, PngImagePlugin
from web import serving_folder

from pconv import Inpainter
from pconv.cli import main
from pconv.cli.page import PACKAGES, Package, _tarball
from pconv.errors import DownloadError
from pconv.images.colour import icc as profiles
from pconv.images.colour.making import BT709, SRGB, grey_profile, rgb_profile
from pconv.images.colour.profiles import ByCurves
from pconv.inpainting.regions import regions, tile_side, tiles
from pconv.inpainting.scales import deep_inside, depth_steps, needed_of_smaller, smaller_by_strips, surface_start
from pconv.inpainting.tiles import NetworkRunner, fill_holes
from pconv.inpainting.windows import ArrayImage
from pconv.nn.onnx_export import save_onnx
from pconv.nn.unet import PConvUNet, UNetConfig

pytestmark = pytest.mark.slow
PHOTOS = Path(__file__).parents[2] / "src" / "pconv" / "evaluation" / "photos"


@pytest.fixture(scope="session")
def site(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "page"
    result = CliRunner().invoke(main, ["page", "-o", str(folder)])
    if "cannot download" in result.output:
        missing(f"npm's registry is out of reach: {result.output}")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A model of some kilobytes in one ONNX file, without noise inputs."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    save_onnx(PConvUNet(UNetConfig((4, 6), (3, 3), surface="trust")).eval(), path, {})
    return path


@pytest.fixture
def web(site):
    with serving_folder(site) as web:
        yield web


@pytest.fixture
def web_address(web):
    return web.address


@pytest.fixture(scope="module")
def tab(browser, site):
    with serving_folder(site) as web:
        desk = Desk(browser.new_context(viewport={"width": 900, "height": 620}), web.address)
        desk.page.set_default_timeout(90_000)
        yield desk
        desk.context.close()


@pytest.fixture
def page(tab):
    """The same tab for every test that only opens photos and fills them: compiling the runtime takes seconds."""
    tab.complaints.clear()
    yield tab
    assert not tab.complaints


@pytest.fixture
def new_page(desks, web_address):
    """A tab of a browser that has never seen the page."""
    desk = desks("web_address")
    desk.page.set_default_timeout(90_000)
    return desk


def as_png(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def blob(height, width, *boxes):
    hole = np.zeros((height, width), bool)
    for top, bottom, left, right in boxes:
        hole[top:bottom, left:right] = True
    return hole


def scratches(height, width, seed, count=6):
    rng = np.random.default_rng(seed)
    hole = np.zeros((height, width), bool)
    for _ in range(count):
        (y0, y1), (x0, x1) = rng.integers(0, height, 2), rng.integers(0, width, 2)
        for share in np.linspace(0, 1, 4 * max(height, width)):
            y, x = int(y0 + (y1 - y0) * share), int(x0 + (x1 - x0) * share)
            hole[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = True
    return hole


def fill(desk, photo, hole, tmp_path, feather=0):
    """The pixels of the downloaded PNG."""
    desk.open(photo)
    assert desk.page.get_attribute("body", "data-version") == "0"
    desk.page.set_input_files("#mask-input", as_png(tmp_path / "mask.png", hole.astype(np.uint8) * 255))
    desk.expect_said("marks")
    desk.page.evaluate(
        """value => {
          const field = document.getElementById("feather");
          field.value = value;
          field.dispatchEvent(new Event("change"));
        }""",
        feather,
    )
    desk.page.click("#fill-button")
    desk.page.wait_for_selector("body:not([data-version='0']), #alert.alert:not([hidden])")
    assert desk.page.is_hidden("#alert.alert"), desk.warned()
    desk.ready()
    name, data = desk.download()
    assert name.endswith("-filled.png")
    return data


# The site.


def test_the_site_is_small_and_names_its_libraries(site):
    assert sum(path.stat().st_size for path in site.rglob("*")) <= 32e6
    (runtime,) = site.glob("*/runtime")
    assert {path.name for path in runtime.iterdir()} == {name for each in PACKAGES for name in each.files.values()}


def test_it_is_built_from_local_files_without_a_network(site, tiny, tmp_path, monkeypatch):
    tarballs = [_tarball(package, []) for package in PACKAGES]
    copies = [shutil.copy(path, tmp_path / f"copy-{number}.tgz") for number, path in enumerate(tarballs)]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", "")

    def no_network(*_):
        raise DownloadError("no network")

    monkeypatch.setattr("pconv.models.download.download", no_network)
    arguments = ["page", "-o", str(tmp_path / "built"), "--model", str(tiny)]
    result = CliRunner().invoke(main, [*arguments, "--runtime", str(copies[0])])
    assert result.exit_code == 1
    assert "give the file with --runtime" in result.output
    assert not (tmp_path / "built").exists()
    result = CliRunner().invoke(main, [*arguments, *(part for copy in copies for part in ("--runtime", str(copy)))])
    assert result.exit_code == 0, result.output
    for path in site.glob("*/runtime/*"):
        (mine,) = (tmp_path / "built").glob(f"*/runtime/{path.name}")
        assert mine.read_bytes() == path.read_bytes()


def test_another_model_can_be_put_in(desks, tiny, tmp_path):
    folder = tmp_path / "site"
    assert CliRunner().invoke(main, ["page", "-o", str(folder), "--model", str(tiny)]).exit_code == 0
    pixels = np.asarray(Image.open(PHOTOS / "cat.jpg").convert("RGB"))
    hole = blob(*pixels.shape[:2], (100, 150, 100, 180))
    with serving_folder(folder) as web:
        desk = desks("web_address")
        desk.go(web.address)
        filled = pixels_of(fill(desk, as_png(tmp_path / "cat.png", pixels), hole, tmp_path))
        assert "tiny" in desk.page.locator("#about").text_content()
        assert desk.page.is_disabled("#another-button")
    assert np.abs(filled.astype(int) - Inpainter(tiny, backend="onnxruntime")(pixels, hole)).max() <= 2


# The same cuts and the same composite as in Python, with a network that is a formula.

RUN = Path(__file__).with_name("cuts.js").read_text()


class Formula:
    """The network of RUN."""

    multiple, noise, estimates, channels = 64, True, True, 3

    def fill(self, images, holes, *, seed, origin, estimate, everywhere):  # noqa: ARG002
        (_, _, h, w), (top, left) = images.shape, origin
        rows, columns = np.mgrid[:h, :w]
        pattern = np.stack([((top + rows) * 7 + (left + columns) * 13 + c * 5 + h + w) % 101 / 101 for c in range(3)])
        if estimate is not None:
            pattern = np.where(estimate[0], (pattern + images[0]) / 2, pattern)
        return np.where(holes, pattern, images).astype(np.float32)


CUTS = {
    "nothing near": (blob(700, 900, (10, 30, 20, 60), (400, 420, 700, 760), (600, 601, 1, 2)), 2**30, 0),
    "one small image": (scratches(120, 90, 1), 2**30, 3),
    "scratches in tiles": (scratches(1300, 1700, 2, 9), 2**30, 0),
    "little memory": (scratches(640, 900, 3, 12), 2**28 // 4, 8),
    "a wide hole": (blob(500, 701, (100, 380, 90, 520)), 2**30, 0),
    "a wide hole in a corner": (blob(411, 397, (0, 300, 0, 260)), 2**30, 48),
    "a wide hole in tiles": (blob(1200, 1400, (200, 1000, 250, 1300)), 2**28, 5),
    "very wide": (blob(900, 900, (20, 880, 30, 860)), 2**30, 0),
    "an object of a megapixel": (blob(1100, 1200, (90, 1000, 100, 1010)), 2**29, 0),
    "groups and odd sizes": (blob(333, 777, (0, 40, 0, 9), (300, 333, 700, 777), (150, 160, 300, 480)), 2**30, 100),
}


@pytest.mark.parametrize("name", CUTS)
def test_regions_tiles_and_the_composite_are_those_of_python(page, name):
    hole, memory, feather = CUTS[name]
    height, width = hole.shape
    rng = np.random.default_rng(5)
    photo = rng.integers(0, 256, (height, width, 3), np.uint8)
    sent = base64.b64encode(hole.astype(np.uint8).tobytes() + photo.tobytes()).decode()
    got = page.page.evaluate(RUN, [height, width, sent, Formula.multiple, memory, feather])

    def array(text, dtype=np.uint8):
        return np.frombuffer(base64.b64decode(text), dtype)

    from pconv.inpainting.tiles import _most_pixels

    expected = []
    for box, wanted in regions(hole, Formula.multiple):
        side = tile_side(wanted, _most_pixels(memory, box))
        cut = [list(each) for each in tiles(wanted, side)]
        expected.append({"box": list(box), "count": int(wanted.sum()), "side": side, "tiles": cut})
    assert got["cuts"] == expected
    deep = deep_inside(hole)
    assert (deep is None) == (got["deep"] is None)
    if deep is not None:
        assert (array(got["deep"]) == deep.ravel()).all()
        image = ArrayImage(photo, 3)
        smaller = smaller_by_strips(lambda rows: image.read(rows, slice(0, width)), hole)
        assert got["start"]["scale"] == smaller.scale
        assert (array(got["start"]["hole"]) == smaller.hole.ravel()).all()
        assert (array(got["needed"]) == needed_of_smaller(deep, smaller).ravel()).all()
        assert np.allclose(array(got["start"]["image"], np.float32), smaller.image.ravel(), atol=1e-3)
        window = surface_start(smaller.image.astype(np.float32), smaller.scale, slice(3, 50), slice(1, 70))
        assert np.allclose(array(got["start"]["window"], np.float32), window.ravel(), atol=1e-3)
    if feather:
        assert (array(got["steps"]) == depth_steps(hole, feather, min(feather, 32)).ravel()).all()
    filled = photo.copy()
    fill_holes(NetworkRunner(Formula(), memory), ArrayImage(filled, 3), hole, feather=feather)
    mine = array(got["filled"]).reshape(filled.shape)
    assert (mine[~hole] == photo[~hole]).all()
    assert np.abs(mine.astype(int) - filled).max() <= 1
    assert (mine != filled).mean() < 1e-3
    assert got["shares"] == sorted(got["shares"])
    assert got["shares"][-1] == 1


# Fills.

HOLES = {
    "scratches": lambda h, w: scratches(h, w, 11),
    "an object": lambda h, w: blob(h, w, (h // 2, h // 2 + 70, w // 3, w // 3 + 90)),
    "a corner": lambda h, w: blob(h, w, (0, 50, w - 80, w)) | scratches(h, w, 12, 2),
    "wide": lambda h, w: blob(h, w, (30, 290, 40, 290)),
}


def test_fills_are_those_of_python(page, tmp_path):
    """Twelve photos and holes, one after another in one tab."""
    inpainter = Inpainter(backend="onnxruntime")
    worst = {}
    for photo, kind in itertools.product(sorted(PHOTOS.glob("*.jpg")), HOLES):
        pixels = np.asarray(Image.open(photo).convert("RGB"))
        hole = HOLES[kind](*pixels.shape[:2])
        source = as_png(tmp_path / f"{photo.stem}-{kind}.png", pixels)
        filled = pixels_of(fill(page, source, hole, tmp_path))
        assert (filled[~hole] == pixels[~hole]).all()
        difference = np.abs(filled.astype(int) - inpainter(pixels, hole))
        worst[photo.stem, kind] = int(difference.max())
    assert len(worst) == 12
    assert max(worst.values()) <= 2, worst


def test_another_fill_and_a_soft_edge_are_those_of_python(new_page, tmp_path):
    pixels = np.asarray(Image.open(PHOTOS / "cat.jpg").convert("RGB"))
    hole = blob(*pixels.shape[:2], (100, 150, 100, 180))
    first = pixels_of(fill(new_page, as_png(tmp_path / "cat.png", pixels), hole, tmp_path, feather=9))
    inpainter = Inpainter(backend="onnxruntime")
    assert np.abs(first.astype(int) - inpainter(pixels, hole, feather=9)).max() <= 2
    new_page.page.click("#another-button")
    new_page.ready(2)
    second = pixels_of(new_page.download()[1])
    assert np.abs(second.astype(int) - inpainter(pixels, hole, feather=9, seed=1)).max() <= 2
    assert (first != second).any()


@functools.cache  # littleCMS writes the time into it
def icc():
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_keeps_profile_and_exif_and_is_turned_once(page, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Camera"
    source = tmp_path / f"turned-{orientation}.jpg"
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:90, :140]
    smooth = np.stack([rows * 2, columns, 150 - rows], -1) + rng.integers(0, 30, (90, 140, 3))
    Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(source, quality=88, exif=exif, icc_profile=icc())
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(Image.open(source)))
    hole = blob(*upright.shape[:2], (20, 40, 30, 60))
    data = fill(page, source, hole, tmp_path)
    image = Image.open(io.BytesIO(data))
    difference = np.abs(np.asarray(image).astype(int) - upright)[~hole]
    assert difference.max() == 0
    assert image.info["icc_profile"] == icc()
    assert (image.getexif()[0x0112], image.getexif()[0x010F]) == (1, "Camera")


def test_a_png_is_turned_once_too(page, tmp_path):
    from PIL import ImageOps

    pixels = np.random.default_rng(4).integers(0, 256, (60, 90, 3), np.uint8)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = orientation, "Camera"
        source = tmp_path / f"turned-{orientation}.png"
        Image.fromarray(pixels).save(source, exif=exif)
        upright = np.asarray(ImageOps.exif_transpose(Image.open(source)))
        hole = blob(*upright.shape[:2], (10, 20, 15, 40))
        image = Image.open(io.BytesIO(fill(page, source, hole, tmp_path)))
        assert (np.asarray(image)[~hole] == upright[~hole]).all(), orientation
        assert (image.getexif()[0x0112], image.getexif()[0x010F]) == (1, "Camera")


def test_the_thumbnail_which_shows_what_is_removed_goes(page, tmp_path):
    thumbnail = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(thumbnail, "JPEG")
    small = thumbnail.getvalue()
    entries = struct.pack(">HHII", 0x0201, 4, 1, 8 + 18 + 30) + struct.pack(">HHII", 0x0202, 4, 1, len(small))
    first = struct.pack(">H", 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 1, 0) + struct.pack(">I", 8 + 18)
    exif = b"MM\0*" + struct.pack(">I", 8) + first + struct.pack(">H", 2) + entries + bytes(4) + small
    source = tmp_path / "thumbnail.jpg"
    Image.fromarray(np.full((60, 80, 3), 99, np.uint8)).save(source, exif=b"Exif\0\0" + exif)
    assert small in source.read_bytes()
    data = fill(page, source, blob(60, 80, (10, 20, 15, 40)), tmp_path)
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == 1
    assert small not in data
    assert small[200:300] not in data


def interlaced(pixels):
    """A PNG of Adam7 in RGB; Pillow writes none."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, right in passes for row in pixels[top::down, left::right]
    )

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_kinds_of_png_keep_every_value_outside_the_hole(page, tmp_path):
    rng = np.random.default_rng(2)
    colours = rng.integers(0, 256, (70, 93, 4), np.uint8)
    colours[:30, :20, 3] = 0
    rgba = Image.fromarray(colours)
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "A test")
    palette = rgba.convert("RGB").quantize(16)
    key = rgba.convert("RGB")
    for name, image, mode, options in (
        ("rgba", rgba, "RGBA", {"icc_profile": icc(), "pnginfo": text}),
        ("rgb", rgba.convert("RGB"), "RGB", {}),
        ("grey", rgba.convert("L"), "L", {}),
        ("grey-alpha", rgba.convert("LA"), "LA", {}),
        ("palette", palette, "RGB", {}),
        ("palette-alpha", palette, "RGBA", {"transparency": bytes(range(0, 256, 16))}),
        ("bits", rgba.convert("1"), "L", {}),
        ("key", key, "RGBA", {"transparency": key.getpixel((50, 60))}),
    ):
        path = tmp_path / f"{name}.png"
        image.save(path, **options)
        expected = np.asarray(Image.open(path).convert(mode))
        hole = blob(70, 93, (35, 45, 30, 50))
        filled = Image.open(io.BytesIO(fill(page, path, hole, tmp_path)))
        assert filled.mode == mode, name
        assert (np.asarray(filled)[~hole] == expected[~hole]).all(), name
        assert filled.info.get("icc_profile") == options.get("icc_profile")
        if "pnginfo" in options:
            assert filled.text == {"Title": "A test"}
        if mode in ("RGBA", "LA"):
            assert (np.asarray(filled)[..., -1] == expected[..., -1]).all(), name
    path = tmp_path / "interlaced.png"
    path.write_bytes(interlaced(colours[..., :3]))
    hole = blob(70, 93, (5, 15, 60, 80))
    assert (pixels_of(fill(page, path, hole, tmp_path))[~hole] == colours[..., :3][~hole]).all()


def test_other_formats_come_through_the_browser_with_a_note(page, tmp_path):
    pixels = np.asarray(Image.open(PHOTOS / "cat.jpg").convert("RGB"))[:100, :120]
    source = tmp_path / "cat.webp"
    Image.fromarray(pixels).save(source, lossless=True)
    hole = blob(100, 120, (20, 40, 20, 40))
    page.open(source)
    assert "may differ" in page.said()
    assert pixels_of(fill(page, source, hole, tmp_path)).shape == (100, 120, 3)


def test_what_the_page_does_not_fill_is_said_when_it_is_opened(new_page, tmp_path):
    grey = np.zeros((40, 40), np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    Image.new("CMYK", (40, 40)).save(tmp_path / "inks.jpg")
    Image.new("RGB", (40, 40)).save(tmp_path / "scan.tif")
    for name, part in (("deep.png", "16 bits"), ("inks.jpg", "CMYK"), ("scan.tif", "TIFF")):
        new_page.page.set_input_files("#photo-input", tmp_path / name)
        new_page.page.wait_for_function(
            "part => document.getElementById('alert-text').textContent.includes(part)", arg=part
        )


def test_what_a_browser_cannot_decode_is_said(new_page, tmp_path):
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    new_page.page.set_input_files("#photo-input", tmp_path / "phone.heic")
    assert "cannot show HEIC" in new_page.warned()


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "sum.png"])
def test_a_damaged_photo_is_said_and_nothing_painted_is_lost(new_page, tmp_path, name):
    """Browsers show the part of a photo that is there; a fill would lose the rest."""
    whole = tmp_path / f"whole-{name}"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)).save(whole)
    data = bytearray(whole.read_bytes())
    if name == "sum.png":
        data[-13] ^= 1  # of the checksum of the pixels' chunk
    (tmp_path / name).write_bytes(data if name == "sum.png" else data[: len(data) // 2])
    new_page.page.set_input_files("#photo-input", tmp_path / name)
    new_page.page.wait_for_selector("body[data-state=ready], #alert.alert:not([hidden])")
    if new_page.page.is_hidden("#alert.alert"):
        new_page.ready()
        new_page.stroke((100, 100), (150, 120))
        marked = new_page.mask().sum()
        new_page.page.click("#fill-button")
        assert new_page.mask().sum() == marked
    assert "damaged" in new_page.warned()


PRIMARIES = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), (0.3127, 0.3290))
PROFILES = {
    "srgb": rgb_profile(PRIMARIES, SRGB),
    "gamma 2.2": rgb_profile(PRIMARIES, (2.2,)),
    "gamma 1.8": rgb_profile(PRIMARIES, (1.8,)),
    "bt709": rgb_profile(PRIMARIES, BT709),
    "linear": rgb_profile(PRIMARIES, (1.0,)),
    "grey 2.2": grey_profile((2.2,)),
    "grey linear": grey_profile((1.0,)),
}


def test_a_profile_far_from_srgb_gets_a_note(page, tmp_path):
    verdict = """async ([address, sent]) => {
      const { isFarFromSrgb } = await import(address);
      return isFarFromSrgb(Uint8Array.from(atob(sent), char => char.charCodeAt(0)));
    }"""
    address = page.page.evaluate(
        "document.querySelector('script[type=module]').src.replace('main', 'browser/profile')"
    )
    found = {}
    for name, profile in {**PROFILES, "littleCMS": icc()}.items():
        curves = profiles.curves_of(profile)
        far = not ByCurves(profiles.Curves(curves.linear, None)).is_identity
        found[name] = far
        assert page.page.evaluate(verdict, [address, base64.b64encode(profile).decode()]) == far, name
    assert set(found.values()) == {True, False}
    photo = Image.open(PHOTOS / "cat.jpg").convert("RGB").crop((0, 0, 90, 70))
    for name, suffix in (("linear", "png"), ("linear", "jpg"), ("srgb", "png"), ("srgb", "jpg")):
        path = tmp_path / f"{name}.{suffix}"
        photo.save(path, icc_profile=PROFILES[name])
        page.open(path)
        assert ("far from sRGB" in page.said()) == (name == "linear")


def test_a_fill_can_be_cancelled(page, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (900, 1300, 3), np.uint8)
    hole = scratches(900, 1300, 4, 12)
    page.open(as_png(tmp_path / "large.png", pixels))
    page.page.set_input_files("#mask-input", as_png(tmp_path / "mask.png", hole.astype(np.uint8) * 255))
    page.expect_said("marks")
    page.page.click("#fill-button")
    page.page.wait_for_function("() => /Filling… [1-9]/.test(document.getElementById('busy-text').textContent)")
    page.page.click("#cancel-button")
    page.expect_said("Cancelled")
    page.ready(0)
    assert page.mask().sum() == hole.sum()


AXE = Package("axe-core", "4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 900])
def test_axe_finds_nothing_that_keeps_people_out(desks, web_address, scheme, width):
    with tarfile.open(_tarball(AXE, [])) as archive:
        script = archive.extractfile("package/axe.min.js").read().decode()
    desk = desks("web_address", color_scheme=scheme, viewport={"width": width, "height": 740})

    def check():
        desk.page.evaluate(script)
        found = desk.page.evaluate("axe.run()")["violations"]
        assert not found, [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]

    check()
    desk.page.click("#sample-button")
    desk.ready()
    desk.stroke((100, 100), (150, 120))
    check()
    desk.page.click("#more-button")
    check()
    desk.page.keyboard.press("Escape")
    desk.page.click("#help-button")
    check()


# Privacy, and work without a network.


def loaded(desk):
    """Wait until the model and all files are kept."""
    desk.page.evaluate("navigator.serviceWorker.ready")
    desk.page.wait_for_function(
        """async () => {
          for (const name of await caches.keys()) {
            if (!name.startsWith("pconv / ")) continue;
            for (const { url } of await (await caches.open(name)).keys()) if (url.includes("model-")) return true;
          }
          return false;
        }""",
        polling=300,
    )


def test_nothing_leaves_the_page_and_it_works_offline(new_page, web, tmp_path):
    requests = []
    new_page.context.on("request", lambda request: requests.append(request.url))
    loaded(new_page)
    new_page.reload()
    assert all(url.startswith(web.address) for url in requests)
    asked = len(web.asked)
    new_page.context.set_offline(True)
    new_page.reload()
    source = PHOTOS / "coffee.jpg"
    pixels = np.asarray(Image.open(source).convert("RGB"))
    hole = blob(*pixels.shape[:2], (100, 150, 100, 180))
    filled = pixels_of(fill(new_page, source, hole, tmp_path))
    assert (filled[~hole] == pixels[~hole]).all()
    new_page.page.click("#another-button")
    new_page.ready(2)
    assert set(web.asked[asked:]) <= {"/service-worker.js"}  # Chromium asks whether there is a new version
    assert all(url.startswith((web.address, "blob:")) for url in requests)


def test_the_policy_allows_no_other_origin(desks, web_address, site):
    with serving_folder(site) as other:
        desk = desks("web_address")
        desk.page.evaluate("navigator.serviceWorker.ready")
        desk.reload()
        refused = "url => fetch(url, {mode: 'no-cors'}).then(() => 'sent', () => 'refused')"
        assert desk.page.evaluate(refused, other.address) == "refused"
        worker = next(each for each in desk.page.workers if "fill-worker" in each.url)
        assert worker.evaluate(refused, other.address) == "refused"
        assert not other.asked
        assert any("Content Security Policy" in each for each in desk.complaints)
        desk.complaints.clear()


def test_a_new_version_is_offered_in_every_tab_and_never_mixed(desks, site, tiny, tmp_path):
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    (old,) = (path.name for path in site.iterdir() if path.is_dir())
    with serving_folder(folder) as web:
        one = desks("web_address")
        one.go(web.address)
        loaded(one)
        one.reload()
        other = Desk(one.context, web.address)
        result = CliRunner().invoke(main, ["page", "-o", str(folder), "--model", str(tiny)])
        assert result.exit_code == 0, result.output
        (new,) = (path.name for path in folder.iterdir() if path.is_dir())
        assert new != old
        one.page.evaluate("navigator.serviceWorker.getRegistration().then(registration => registration.update())")
        for desk in (one, other):
            assert "new version" in desk.warned()
        with one.page.expect_navigation():
            one.page.click("#alert-action")
        one.started()
        assert "tiny" in one.page.locator("#about").text_content()

        # The other tab goes on with the old version, from what was kept: the server no longer has it.
        assert "new version" in other.warned()
        asked = len(web.asked)
        filled = pixels_of(fill(other, PHOTOS / "cat.jpg", blob(300, 451, (50, 90, 60, 99)), tmp_path))
        assert filled.shape == (300, 451, 3)
        assert not any(old in path for path in web.asked[asked:])
        assert all(old in each.url for each in other.page.workers)
        names = one.page.evaluate("caches.keys()")
        assert sorted(name.split()[-1][:12] for name in names if name.startswith("pconv / ")) == sorted([old, new])

        other.page.wait_for_selector("body[data-saved=true]")
        other.reload()
        assert "tiny" in other.page.locator("#about").text_content()
        one.reload()
        one.page.wait_for_function(
            "async old => !(await caches.keys()).some(name => name.includes(old))", arg=old, polling=200
        )
        assert one.complaints + other.complaints == []


# Errors, a sentence each; what was painted stays.


@pytest.mark.parametrize(
    ("broken", "part"),
    [(404, "answered 404"), (b"<html>hello</html>", "broke off after 18"), (None, "SHA-256")],
    ids=["missing", "too short", "another file"],
)
def test_a_broken_model_is_said_and_never_kept(new_page, web, site, broken, part):
    model = next(site.rglob("model-*.onnx"))
    web.broken["model-"] = bytes(model.stat().st_size) if broken is None else broken
    new_page.page.evaluate("caches.keys().then(names => Promise.all(names.map(name => caches.delete(name))))")
    new_page.reload()
    new_page.page.click("#sample-button")
    new_page.ready()
    new_page.stroke((100, 100), (150, 120))
    marked = new_page.mask().sum()
    new_page.page.click("#fill-button")
    assert part in new_page.warned()
    assert new_page.mask().sum() == marked
    web.broken.clear()
    new_page.page.click("#alert-action")
    new_page.ready(1)
    new_page.complaints.clear()  # Chromium lists the 404


@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("WebAssembly.validate = () => false;", "no WebAssembly SIMD"),
        (
            "WebAssembly.instantiate = WebAssembly.instantiateStreaming = async () => {"
            " throw new RangeError('Out of memory'); };",
            "memory",
        ),
        ("Cache.prototype.put = async () => { throw new DOMException('full', 'QuotaExceededError'); };", ""),
    ],
    ids=["no SIMD", "no memory", "storage full"],
)
def test_what_a_browser_lacks_is_said(desks, web_address, script, part):
    desk = desks("web_address", service_workers="block")

    def patched(route):
        answer = route.fetch()
        route.fulfill(response=answer, body=f"{script}\n{answer.text()}")

    desk.context.route("**/fill-worker.js", patched)
    desk.page.set_default_timeout(90_000)
    desk.reload()
    desk.page.click("#sample-button")
    desk.ready()
    desk.stroke((100, 100), (150, 120))
    desk.page.click("#fill-button")
    if part:
        assert part in desk.warned()
        desk.complaints.clear()  # what ONNX Runtime writes to the console
    else:
        desk.ready(1)


def test_from_a_file_the_page_says_to_serve_it(browser, site):
    context = browser.new_context()
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    page.wait_for_selector("#alert:not([hidden])")
    assert "http.server" in page.locator("#alert-text").inner_text()
    context.close()


def test_nginx_as_the_guide_has_it_serves_the_page_with_threads(desks, site, tmp_path, request):
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "static-page.md").read_text()
    locations = re.search(r"```nginx\n(.*?)```", guide, re.DOTALL)[1].replace("/srv/page-site/", f"{site}/")
    folder = tmp_path / "nginx"
    folder.mkdir()
    with nginx(locations, folder) as port:
        desk = desks("web_address")
        desk.page.set_default_timeout(90_000)
        desk.go(f"http://localhost:{port}/pconv")
        assert desk.page.url == f"http://localhost:{port}/pconv/"
        assert desk.page.evaluate("crossOriginIsolated")
        desk.page.click("#sample-button")
        desk.ready()
        desk.stroke((100, 100), (150, 120))
        desk.fill()


def test_with_isolation_it_computes_with_threads(desks, site, tmp_path, request):
    with serving_folder(site, isolated=True) as web:
        desk = desks("web_address")
        desk.page.set_default_timeout(90_000)
        desk.go(web.address)
        assert desk.page.evaluate("crossOriginIsolated")
        pixels = np.asarray(Image.open(PHOTOS / "cat.jpg").convert("RGB"))
        hole = blob(*pixels.shape[:2], (100, 150, 100, 180))
        filled = pixels_of(fill(desk, as_png(tmp_path / "cat.png", pixels), hole, tmp_path))
        assert np.abs(filled.astype(int) - Inpainter(backend="onnxruntime")(pixels, hole)).max() <= 2
