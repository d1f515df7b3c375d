"""What fills have changed, copied from a PNG into the file that was opened."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from pconv.images.reading import read_photo
from pconv.images.writing import encode_photo
from pconv.server.images import copy_changes

HOLE = np.s_[10:20, 5:25]


def original(mode: str, form: str, **options) -> bytes:
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(0, 256, (30, 40, 4), dtype=np.uint8).repeat(4, 0).repeat(4, 1))
    image = image.convert("RGB").quantize(8) if mode == "P" else image.convert("RGB").convert(mode)
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("mode", "form"),
    [("RGB", "TIFF"), ("RGB", "BMP"), ("L", "TIFF"), ("1", "TIFF"), ("P", "GIF"), ("RGB", "JPEG"), ("L", "JPEG")],
)
def test_only_what_was_filled_changes(mode, form):
    before = read_photo(original(mode, form))
    filled = read_photo(encode_photo(before, ".png"))
    red = np.zeros((3, 10, 20), np.float32)
    red[0] = 1
    filled.write(*HOLE, red, np.ones((10, 20), np.float32))
    after = copy_changes(filled, before)
    changed = np.zeros((before.height, before.width), bool)
    changed[HOLE] = True
    assert (after.mode, after.metadata) == (before.mode, before.metadata)
    assert np.array_equal(after.pixels[~changed], before.pixels[~changed])
    assert np.abs(after.read(*HOLE) - filled.read(*HOLE)).max() < 0.01


def test_over_http_a_jpeg_keeps_its_tables(grey_server):
    from harness import block, encoded

    source = original("RGB", "JPEG", quality=71)
    first = grey_server.post(
        {"image": ("a.jpg", source, "image/jpeg"), "mask": ("m.png", encoded(block(160, 120)), "image/png")},
        format="png",
    )
    assert first.status_code == 200, first.text
    black = encoded(Image.new("L", (160, 120)))
    files = {
        "image": ("a.png", first.content, "image/png"),
        "mask": ("m.png", black, "image/png"),
        "original": ("a.jpg", source, "image/jpeg"),
    }
    last = grey_server.post(files)
    assert last.status_code == 200, last.text
    assert last.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(last.content)).quantization == Image.open(io.BytesIO(source)).quantization
    files["original"] = ("b.jpg", encoded(Image.new("RGB", (10, 10))), "image/png")
    assert grey_server.post(files).json()["error"]["code"] == "original_size"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_colours_multiplied_by_alpha_stay_so(kind):
    rng = np.random.default_rng(3)
    stored = rng.integers(0, np.iinfo(kind).max // 2, (30, 40, 4), dtype=kind)
    stored[..., 3] += np.iinfo(kind).max // 2
    file = io.BytesIO()
    tifffile.imwrite(file, stored, photometric="rgb", extrasamples=[1], metadata=None)
    before = read_photo(file.getvalue())
    filled = read_photo(encode_photo(before, ".png"))
    filled.write(*HOLE, np.full((3, 10, 20), 0.25, np.float32), np.ones((10, 20), np.float32))
    after = copy_changes(filled, before)
    known = np.ones((30, 40), bool)
    known[HOLE] = False
    assert np.array_equal(after.pixels[known], stored[known])
    assert np.array_equal(after.pixels[..., 3], stored[..., 3])
    assert np.abs(after.read(*HOLE) - 0.25).max() < 0.01
