"""TIFF files as scanners, cameras and maps write them: what the tags say decides, and comes back as it was."""

import struct
from io import BytesIO

import numpy as np
import pytest
import tifffile
from kinds import fill, pixels, some_hole

from pconv.errors import ImageFileError
from pconv.images.photo import Photo
from pconv.images.reading import photo_size, read_photo
from pconv.images.writing import check_storable, encode_photo
from pconv.masks.reader import hole_from_photo


def tiff(values, photometric="minisblack", **options):
    """A TIFF of ``(H, W, C)`` values."""
    file = BytesIO()
    if values.shape[2] == 1:
        values = values[..., 0]
    elif options.get("planarconfig", "contig") == "separate":
        values = np.ascontiguousarray(values.transpose(2, 0, 1))
    else:
        options["planarconfig"] = "contig"
    tifffile.imwrite(file, values, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def page_of(data):
    with tifffile.TiffFile(BytesIO(data)) as file:
        return file.pages.first, file.pages.first.asarray()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"compression": "zlib"}, {"planarconfig": "separate"}])
@pytest.mark.parametrize("mode", ["1", "L", "I;16", "LA", "LA;16"])
def test_white_at_zero_is_shown_right_and_comes_back(mode, layout, byteorder):
    values = pixels(mode, 40, 37)
    if mode == "1" and "compression" in layout:
        return
    options = layout | {"byteorder": byteorder}
    if mode.startswith("LA"):
        options["extrasamples"] = [2]
    elif "planarconfig" in layout:
        return
    data = tiff(values, "miniswhite", **options)
    photo = read_photo(data)
    white = 1 if mode == "1" else np.iinfo(values.dtype).max
    assert photo.mode == mode
    assert np.array_equal(photo.pixels[..., 0], white - values[..., 0].astype(int))
    assert np.array_equal(photo.pixels[..., 1:], values[..., 1:])
    hole = some_hole(40, 37)
    page, again = page_of(encode_photo(fill(photo, hole)))
    assert page.photometric == 0
    assert page.bitspersample == (1 if mode == "1" else values.dtype.itemsize * 8)
    assert np.array_equal(again.reshape(values.shape)[~hole], values[~hole])


def test_white_at_zero_goes_as_black_at_zero_to_other_formats():
    photo = read_photo(tiff(pixels("I;16"), "miniswhite"))
    assert np.array_equal(read_photo(encode_photo(photo, ".png")).pixels, 65535 - pixels("I;16"))


def test_grey_whose_zero_is_white_multiplied_by_alpha_is_refused_with_the_reason():
    with pytest.raises(ImageFileError, match="zero is white and which are multiplied by alpha"):
        read_photo(tiff(pixels("LA"), "miniswhite", extrasamples=[1]))


@pytest.mark.parametrize("layout", [{}, {"compression": "zlib", "tile": (16, 16)}, {"planarconfig": "separate"}])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBA;16", "LA;16"])
def test_colours_multiplied_by_alpha_stay_so_and_are_seen_without_it(mode, layout):
    straight = pixels(mode, 40, 37)
    white = np.iinfo(straight.dtype).max
    straight[:5, ..., -1] = white
    straight[5:9, ..., -1] = 0
    alpha = straight[..., -1:].astype(float) / white
    stored = straight.copy()
    stored[..., :-1] = np.rint(straight[..., :-1] * alpha)
    photo = read_photo(tiff(stored, "rgb" if mode[0] == "R" else "minisblack", extrasamples=[1], **layout))
    assert np.array_equal(photo.pixels, stored)
    wide = (alpha > 0.5)[..., 0]
    seen = photo.read(slice(None), slice(None)).transpose(1, 2, 0)[..., : straight.shape[2] - 1]
    assert np.abs(seen - straight[..., :-1] / white)[wide].max() < 2 / 255

    hole = some_hole(40, 37)
    filled = fill(photo, hole, np.full((3, 40, 37), 0.75))
    page, again = page_of(encode_photo(filled))
    again = again if "planarconfig" not in layout else again.reshape(stored.shape)
    assert page.extrasamples == (1,)
    assert np.array_equal(again[~hole], stored[~hole])
    assert np.array_equal(again[..., -1], stored[..., -1])
    assert np.abs(again[hole][:, :-1] / white - 0.75 * alpha[hole]).max() < 1 / 255

    elsewhere = read_photo(encode_photo(photo, ".png"))
    assert np.abs(elsewhere.pixels[wide].astype(float) - straight[wide]).max() <= white * 2 / 255
    assert any("multiplied by alpha" in note for note in check_storable(photo, ".png"))
    assert not any("multiplied by alpha" in note for note in check_storable(photo, ".tif"))


def test_a_hole_that_alpha_marks_becomes_opaque_where_colours_are_multiplied_by_it():
    stored = np.zeros((8, 8, 4), np.uint8)
    photo = Photo(stored, "RGBA", premultiplied=True, fills_are_opaque=True)
    filled = fill(photo, np.ones((8, 8), bool), np.full((3, 8, 8), 1.0))
    assert (filled.pixels == 255).all()


def test_a_mask_multiplied_by_its_alpha_is_read_without_it():
    values = np.full((8, 8, 2), 255, np.uint8)
    values[:4, :, 0] = 0
    values[4:, :, :] = 200  # white at an alpha of 200
    straight = Photo(np.where(values == 200, [255, 200], values).astype(np.uint8), "LA")
    assert np.array_equal(hole_from_photo(Photo(values, "LA", premultiplied=True)), hole_from_photo(straight))


@pytest.mark.parametrize("form", ["signed", "12-bit", "floating-point"])
def test_values_of_other_depths_are_refused_with_the_reason(form):
    if form == "12-bit":
        data = bytearray(tiff(pixels("I;16")))
        place = data.index(struct.pack("<HHIH", 258, 3, 1, 16))
        data[place + 8 : place + 10] = struct.pack("<H", 12)
    else:
        data = tiff(pixels("I;16").astype(np.int16 if form == "signed" else np.float32))
    with pytest.raises(ImageFileError, match=f"holds .*{form} values, .*save it with 8 or 16 bits"):
        read_photo(bytes(data))


def test_what_cannot_be_unpacked_here_is_said_and_not_called_damage():
    data = bytearray(tiff(pixels("LA;16"), extrasamples=[2]))
    place = data.index(struct.pack("<HHIH", 259, 3, 1, 1))
    data[place + 8 : place + 10] = struct.pack("<H", 5)
    with pytest.raises(ImageFileError, match="and not by LZW; save it so"):
        read_photo(bytes(data))


def with_inside(values, inside, **options):
    """A TIFF whose first directory points to others (SubIFDs)."""
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(values, photometric="rgb", subifds=len(inside), metadata=None, **options)
        for content, own in inside:
            writer.write(content, metadata=None, **own)
    return file.getvalue()


SENSOR = pixels("I;16", 64, 96)[..., 0], {"photometric": "cfa", "extratags": [(33421, 3, 2, (2, 2), True)]}
THUMBNAIL = pixels("RGB", 16, 24)


def cr2():
    """Canon's header stands before a first directory that looks like that of a photo."""
    data = bytearray(tiff(THUMBNAIL, "rgb"))
    (first,) = struct.unpack_from("<I", data, 4)
    moved = bytearray(data[:8]) + b"CR\2\0" + bytes(4) + data[8:]
    struct.pack_into("<I", moved, 4, first + 8)
    (count,) = struct.unpack_from("<H", moved, first + 8)
    for place in range(first + 10, first + 10 + 12 * count, 12):
        code, kind, number, value = struct.unpack_from("<HHII", moved, place)
        if code == 273 or {2: 1, 3: 2, 4: 4, 5: 8}[kind] * number > 4:
            struct.pack_into("<I", moved, place + 8, value + 8)
    return bytes(moved)


RAW = {
    "DNG": lambda: with_inside(THUMBNAIL, [SENSOR], subfiletype=1, extratags=[(50706, 1, 4, b"\1\4\0\0", True)]),
    "such as NEF or ARW": lambda: with_inside(THUMBNAIL, [SENSOR], subfiletype=1),
    "CR2": cr2,
}


@pytest.mark.parametrize("kind", RAW)
def test_camera_raw_files_are_refused_with_what_to_do(kind, tmp_path):
    path = tmp_path / "photo.tif"  # whatever the file is called
    path.write_bytes(RAW[kind]())
    for read in (read_photo, photo_size):
        with pytest.raises(ImageFileError, match=rf"photo\.tif is a camera raw file \({kind}\).*develop it") as said:
            read(path)
        assert str(said.value).count(". ") == 0


@pytest.mark.parametrize("tag", ["new", "old"])
def test_a_reduced_image_is_not_taken_for_the_photo(tag):
    if tag == "new":
        data = with_inside(THUMBNAIL, [(pixels("RGB"), {"photometric": "rgb"})], subfiletype=1)
    else:
        data = tiff(THUMBNAIL, "rgb", extratags=[(255, 3, 1, 2, True)])
    for read in (read_photo, photo_size):
        with pytest.raises(ImageFileError, match=r"begins with a reduced image .* not taken for the photo"):
            read(data)


@pytest.mark.parametrize("where", ["inside", "behind"])
def test_pyramids_are_read_with_a_note(where):
    values, small = pixels("RGB", 64, 96), pixels("RGB", 32, 48)
    reduced = {"photometric": "rgb", "subfiletype": 1, "tile": (16, 16)}
    if where == "inside":
        data = with_inside(values, [(small, reduced), (small[::2, ::2], reduced)], tile=(16, 16))
    else:
        file = BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(values, photometric="rgb", tile=(16, 16), metadata=None)
            writer.write(small, metadata=None, **reduced)
            writer.write(small[::2, ::2], metadata=None, **reduced)
        data = file.getvalue()
    photo = read_photo(data)
    assert np.array_equal(photo.pixels, values)
    (note,) = photo.notes
    assert "2 reduced images (overviews or thumbnails) and division into tiles are not kept" in note
    with tifffile.TiffFile(BytesIO(encode_photo(photo))) as again:
        assert len(again.pages) == 1
        assert not again.pages.first.is_tiled
