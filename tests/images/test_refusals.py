"""Files that cannot be read: one clear sentence each, and no memory spent before it is said."""

import struct
import threading
import tracemalloc
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
import tifffile
from kinds import pil, pixels, saved
from PIL import Image

from pconv.errors import ImageFileError, InputError
from pconv.images.photo import Photo
from pconv.images.pillow import from_pil
from pconv.images.reading import MAX_PIXELS, photo_size, read_photo
from pconv.images.writing import check_storable, encode_photo, write_photo

FORMS = {"PNG": {}, "JPEG": {}, "WEBP": {}, "TIFF": {}, "GIF": {}, "BMP": {}, "AVIF": {}, "PPM": {}}


def sentence(data, **options):
    with pytest.raises(ImageFileError) as caught:
        read_photo(data, "photo.x", **options)
    said = str(caught.value)
    assert "photo.x" in said
    assert "\n" not in said
    return said


def some_file(form, height=64, width=64):
    image = Image.fromarray(pixels("RGB", height, width))
    return saved(image.quantize(64) if form == "GIF" else image, form)


@pytest.mark.parametrize("form", FORMS)
def test_truncated_files_are_refused_wherever_they_end(form):
    data = some_file(form)
    for share in (0.02, 0.1, 0.3, 0.5, 0.8):
        said = sentence(data[: int(len(data) * share)])
        assert "damaged" in said or "not an image" in said, share


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_are_refused_or_read_but_never_crash(form):
    data = bytearray(some_file(form, 24, 24))
    generator = np.random.default_rng(5)
    outcomes, sentences = set(), []
    for _ in range(150):
        broken = bytearray(data)
        for place in generator.integers(0, len(data), generator.integers(1, 6)):
            broken[place] = generator.integers(0, 256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                photo = read_photo(bytes(broken), "photo.x", max_pixels=10**6)
                encode_photo(photo)
            outcomes.add("read")
        except ImageFileError as error:
            outcomes.add("refused")
            sentences.append(str(error))
    assert not any("\n" in sentence for sentence in sentences)
    assert outcomes == {"refused"} if form == "PNG" else "read" in outcomes  # a PNG knows by its checksums


def png_header(width, height):
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks
    )


def tiff_header(width, height):
    file = BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    data = bytearray(file.getvalue())
    for code, value in ((256, width), (257, height)):
        place = data.index(struct.pack("<HH", code, 4)) + 8
        struct.pack_into("<I", data, place, value)
    return bytes(data)


def test_bombs_and_absurd_sizes_are_refused_before_they_are_unpacked():
    gif = bytearray(some_file("GIF"))
    struct.pack_into("<HH", gif, 6, 60000, 60000)
    bmp = bytearray(some_file("BMP"))
    struct.pack_into("<ii", bmp, 18, 100000, 100000)
    tracemalloc.start()
    for data in (png_header(100000, 100000), png_header(2**31 - 1, 2**31 - 1), tiff_header(90000, 90000), gif, bmp):
        assert "million that are read" in sentence(bytes(data)) or "damaged" in sentence(bytes(data))
    for data in (png_header(0, 5), tiff_header(0, 5)):
        said = sentence(data)
        assert "there is nothing in it" in said or "damaged" in said
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_the_limit_is_ours_and_leaves_pillows_alone(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # a host program's, for its own files
    for form in FORMS.keys() - {"WEBP"}:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_photo(some_file(form)).pixels.shape[:2] == (64, 64), form
        assert "64x64 pixels, more than the 0 million" in sentence(some_file(form), max_pixels=4095)
    assert "more pixels than this program lets Pillow read" in sentence(some_file("WEBP"))  # its decoder looks itself
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert MAX_PIXELS > 100e6


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "photo.x is empty"),
        (b"not an image", r"photo.x is not an image of a known format \(PNG, JPEG, WebP"),
        (b"%PDF-1.7", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"\xff\xd8\xff", "damaged"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", r"camera raw file \(CR3\).*develop it"),
        (b"FUJIFILMCCD-RAW 0201", r"camera raw file \(RAF\)"),
        (b"II*\0", "damaged"),
        (b"\0\0\0\x1cftypavif", "damaged"),
    ],
)
def test_what_is_no_picture(data, said):
    with pytest.raises(ImageFileError, match=said):
        read_photo(data, "photo.x")


def test_missing_files_and_folders(tmp_path):
    for path, reason in ((tmp_path / "none.png", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ImageFileError, match=f"cannot read .*: {reason}"):
            read_photo(path)
        with pytest.raises(ImageFileError, match=f"cannot read .*: {reason}"):
            photo_size(path)
    with pytest.raises(ImageFileError, match="cannot write"):
        write_photo(Photo(pixels("RGB"), "RGB"), tmp_path / "none" / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (lambda: saved(Image.new("LAB", (4, 4)), "TIFF"), "Lab colours"),
        (lambda: saved(Image.new("F", (4, 4)), "TIFF"), "32-bit floating-point values"),
        (lambda: saved(Image.new("I", (4, 4)), "TIFF"), "32-bit signed values"),
        (lambda: tiff_of(np.zeros((4, 4, 3), np.float32), "rgb"), "floating-point"),
        (lambda: tiff_of(np.zeros((9, 9, 5), np.uint8), "rgb"), "holds 5 channels"),
        (lambda: tiff_of(np.zeros((4, 4), np.int16), "minisblack"), "signed"),
    ],
)
def test_what_cannot_be_filled_is_said(image, kind):
    said = sentence(image())
    assert kind in said
    assert "save it with 8 or 16 bits" in said


def tiff_of(values, photometric):
    file = BytesIO()
    tifffile.imwrite(file, values, photometric=photometric)
    return file.getvalue()


def test_files_that_lie_about_their_format_are_read_by_what_is_in_them(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(some_file("PNG"))
    photo = read_photo(tmp_path / "photo.jpg")
    assert photo.metadata.format == "PNG"
    assert np.array_equal(photo.pixels, pixels("RGB", 64, 64))
    write_photo(photo, tmp_path / "out.jpg")
    assert (tmp_path / "out.jpg").read_bytes()[:3] == b"\xff\xd8\xff"  # what the suffix says


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_animations_the_first_frame_is_filled_and_that_is_said(form):
    frames = [Image.fromarray(pixels("RGB", seed=seed)) for seed in range(3)]
    options = {"lossless": True} if form == "WEBP" else {}
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], duration=50, **options)
    photo = read_photo(data)
    assert photo.notes[0] == "animated: only the first of 3 frames is kept"
    again = encode_photo(photo)
    assert getattr(Image.open(BytesIO(again)), "n_frames", 1) == 1
    if form in ("WEBP", "PNG"):
        assert np.array_equal(read_photo(again).pixels[..., :3], np.asarray(frames[0]))


def test_of_many_pages_the_first_is_filled_and_that_is_said():
    pages = [pil("L", pixels("L", seed=seed)) for seed in range(4)]
    photo = read_photo(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert photo.notes == ("only the first of 4 pages is kept; the others are lost",)
    assert np.array_equal(photo.pixels[..., 0], np.asarray(pages[0]))


def test_heic_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImageFileError, match=r"pip install pillow-heif"):
        read_photo(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    photo = from_pil(Image.new("RGB", (8, 8)))
    monkeypatch.setattr("pconv.images.codecs.heic.find_spec", lambda _: None)
    for attempt in (encode_photo, check_storable):
        with pytest.raises(InputError, match=r"pip install pillow-heif"):
            attempt(photo, ".heic")
    monkeypatch.setattr("PIL.features.check", lambda _: False)
    with pytest.raises(InputError, match="built without AVIF"):
        check_storable(photo, ".avif")


def test_many_threads_read_and_write_at_once():
    files = [some_file(form) for form in FORMS]
    expected = [encode_photo(read_photo(data)) for data in files]
    wrong = []

    def work():
        for data, result in zip(files, expected, strict=True):
            if encode_photo(read_photo(data)) != result:
                wrong.append(data[:12])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
