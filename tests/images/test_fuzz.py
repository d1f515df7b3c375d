"""Random photos of every kind, through the whole way: what is not in the hole comes back bit for bit.

200 cases; ``make fuzz`` runs 10,000 (the environment's PCONV_FUZZ says how many).
"""

import os
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds import CHANNELS, pil, saved
from PIL import Image, ImageOps

from pconv import Inpainter
from pconv.images.photo import Photo
from pconv.images.reading import read_photo
from pconv.images.writing import encode_photo
from pconv.masks.reader import MaskFile
from pconv.masks.sources import hole_of

CASES = int(os.environ.get("PCONV_FUZZ", "200"))

PILLOWS = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"]
FILES = [
    *[(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "LA;16", "RGB;16", "RGBA;16")],
    *[(mode, "TIFF") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "LA;16", "RGB;16", "RGBA;16")],
    *[(mode, "WEBP") for mode in ("RGB", "RGBA")],
    *[(mode, "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")],
    *[(mode, "GIF") for mode in ("L", "P")],
    *[(mode, "PPM") for mode in ("1", "L", "RGB", "I;16")],
]
SUFFIXES = {"PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "PPM": ".ppm"}
TURNED = {"PNG", "TIFF", "WEBP"}


class Painter:
    """In the network's place: fills holes with noise, so that every value may be asked to be stored."""

    name, device, precision, channels, multiple, recipe = "noise", "cpu", "fp32", 3, 128, {}
    noise = estimates = False

    def fill(self, pictures, holes, **_):
        noise = np.random.default_rng(int(holes.sum())).random(pictures.shape, dtype=np.float32)
        return np.where(holes, noise, pictures).astype(np.float32)


@pytest.fixture(scope="module")
def painting():
    inpainter = Inpainter(backend="onnxruntime")
    inpainter.backend = Painter()
    return inpainter


sides = st.one_of(st.integers(1, 40), st.integers(1, 40), st.integers(1, 700))


@st.composite
def cases(draw, kinds):
    height, width = draw(sides), draw(sides)
    if height > 300:
        height = 300 if width > 300 else height
    return {
        "kind": draw(st.sampled_from(kinds)),
        "height": height,
        "width": width,
        "content": draw(st.sampled_from(["noise", "smooth", "flat", "extreme"])),
        "hole": draw(st.sampled_from(["noise", "box", "pixel", "all but one", "none"])),
        "mask": draw(st.sampled_from(["1", "L", "RGB", "P", "LA", "I;16"])),
        "orientation": draw(st.integers(1, 8)),
        "feather": draw(st.sampled_from([0, 0, 3])),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def content(case, mode):
    generator = np.random.default_rng(case["seed"])
    kind = np.uint16 if mode.endswith("16") else np.uint8
    full = np.iinfo(kind).max
    channels = CHANNELS[mode if mode == "I;16" else mode.removesuffix(";16")]
    shape = case["height"], case["width"], channels
    if case["content"] == "smooth":
        rows, columns = np.mgrid[: case["height"], : case["width"]]
        slopes = generator.uniform(-3, 3, (2, channels))
        values = (rows[..., None] * slopes[0] + columns[..., None] * slopes[1]) * (full / 255) % full
    elif case["content"] == "flat":
        values = np.broadcast_to(generator.integers(0, full + 1, channels), shape)
    elif case["content"] == "extreme":
        values = generator.choice([0, full], shape)
    else:
        values = generator.integers(0, full + 1, shape)
    return values.astype(kind) if mode != "1" else values > full / 2


def hole(case, height, width):
    generator = np.random.default_rng(case["seed"] + 1)
    marked = np.zeros((height, width), bool)
    if case["hole"] == "noise":
        marked = generator.random((height, width)) < generator.random()
    elif case["hole"] == "box":
        top, left = generator.integers(0, height), generator.integers(0, width)
        marked[top : top + generator.integers(1, height + 1), left : left + generator.integers(1, width + 1)] = True
    elif case["hole"] in ("pixel", "all but one"):
        marked[generator.integers(0, height), generator.integers(0, width)] = True
        marked ^= case["hole"] == "all but one"
    if marked.all():
        marked[generator.integers(0, height), generator.integers(0, width)] = False
    return marked


def mask_file(case, marked):
    """The hole as a mask of another mode, in 50 % grey."""
    grey = np.where(marked, 128, 0).astype(np.uint8)
    if case["mask"] == "1":
        return saved(Image.fromarray(marked), "PNG")
    if case["mask"] == "I;16":
        return saved(Image.fromarray(np.where(marked, 32768, 0).astype(np.uint16)), "PNG")
    return saved(Image.fromarray(grey).convert(case["mask"]), "PNG")


def some_pil(case, mode):
    values = content(case, mode)
    if mode != "P":
        return pil(mode, values)
    generator = np.random.default_rng(case["seed"] + 2)
    colours = generator.integers(0, 256, (generator.integers(1, 257), 3), dtype=np.uint8)
    return pil("P", (values.astype(int) % len(colours)).astype(np.uint8), colours)  # 256 is no uint8


def same(before, after):
    """``(H, W)``: where two arrays of pixels agree in all channels."""
    equal = np.asarray(before) == np.asarray(after)
    return equal.all(axis=2) if equal.ndim == 3 else equal


@settings(max_examples=CASES // 2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(FILES))
def test_from_file_to_file(painting, case):
    mode, form = case["kind"]
    deep = mode.endswith(";16") and mode != "I;16"
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    if form in TURNED and not deep:
        exif = Image.Exif()
        exif[0x0112] = case["orientation"]
        options["exif"] = exif
    if deep or (mode, form) == ("RGBA", "BMP"):
        source = encode_photo(Photo(content(case, mode), mode), SUFFIXES[form])
    else:
        source = saved(some_pil(case, mode), form, **options)
    photo = read_photo(source)
    # In BMP and GIF, grey and 1-bit pictures are palettes; WebP leaves out an alpha that is opaque everywhere.
    assert photo.mode == mode or form in ("BMP", "GIF", "WEBP")
    marked = hole(case, photo.height, photo.width)
    found = hole_of(photo, [MaskFile(mask_file(case, marked))])
    assert np.array_equal(found, marked)
    filled = painting(photo, found, feather=case["feather"])
    result = encode_photo(filled)
    again = read_photo(result)
    assert again.mode == photo.mode
    assert np.array_equal(again.pixels, filled.pixels)
    assert same(photo.pixels, again.pixels)[~marked].all()
    if photo.alpha is not None:
        assert np.array_equal(photo.alpha, again.alpha)
    if not deep:  # as a viewer sees both
        before, after = (ImageOps.exif_transpose(Image.open(BytesIO(data))) for data in (source, result))
        assert before.mode == after.mode
        assert before.size == after.size
        if mode == "P":
            before, after = before.convert("RGBA"), after.convert("RGBA")
        assert same(before, after)[~marked].all()


@settings(max_examples=CASES - CASES // 2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(PILLOWS))
def test_from_pillow_to_pillow(painting, case):
    image = some_pil(case, case["kind"])
    pixels, marked = image.tobytes(), hole(case, case["height"], case["width"])
    filled = painting(image, Image.fromarray(marked), feather=case["feather"])
    assert image.tobytes() == pixels
    assert filled.mode == image.mode
    assert filled.size == image.size
    assert same(image, filled)[~marked].all()
    if image.mode == "P":
        assert same(image.convert("RGB"), filled.convert("RGB"))[~marked].all()
    if image.mode in ("LA", "RGBA"):
        assert np.array_equal(np.asarray(image)[..., -1], np.asarray(filled)[..., -1])
