"""What a file holds beside its pixels: all of it in its own format, and nothing that shows what was removed."""

import io
import struct
import time
import zlib
from contextlib import suppress
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from kinds import fill, opened, pil, pixels, saved, some_hole
from made_profiles import DISPLAY_P3, SRGB_CURVE, formula, gamma, grey_profile, matrix_profile
from PIL import Image, ImageOps, PngImagePlugin

from pconv.images import ifd
from pconv.images.codecs import jpeg, png
from pconv.images.exif import MARK, with_orientation, with_size, with_thumbnail
from pconv.images.metadata import photoshop_without_thumbnails, without_embedded_images, xmp_without_images
from pconv.images.photo import Photo
from pconv.images.reading import read_photo
from pconv.images.writing import check_storable, encode_photo

PROFILE = matrix_profile(DISPLAY_P3, formula(*SRGB_CURVE))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="a title"/></x:xmpmeta>'
RED, MAKER = (220, 20, 30), b"maker's own " + bytes(range(256))


def thumbnail_of(colour, size=(160, 120)):
    return saved(Image.new("RGB", size, colour), "JPEG", quality=90)


def exif_data(order="<", orientation=6, thumbnail=True, maker=MAKER):
    """EXIF data as cameras write it: two directories, one for the camera's settings, GPS, and a thumbnail."""
    pack = lambda kind, value: struct.pack(order + kind, value)  # noqa: E731
    inner = (
        ifd.Entry(0x829A, 5, pack("I", 1) + pack("I", 250)),
        ifd.Entry(0x927C, 7, maker),
        ifd.Entry(0x9003, 2, b"2026:11:21 09:00:00\0"),
    )
    gps = (ifd.Entry(1, 2, b"N\0"), ifd.Entry(2, 5, struct.pack(order + "6I", 52, 1, 30, 1, 0, 1)))
    entries = [
        ifd.Entry(0x010F, 2, b"A camera\0"),
        ifd.Entry(0x0112, 3, pack("H", orientation)),
        ifd.Entry(0x8769, 4, bytes(4), inside=inner),
        ifd.Entry(0x8825, 4, bytes(4), inside=gps),
    ]
    data = bytearray(ifd.structure(entries, order))
    if thumbnail:
        small = thumbnail_of(RED)
        place = len(data)
        struct.pack_into(order + "I", data, 8 + 2 + 12 * len(entries), place)
        tags = [
            ifd.Entry(0x0103, 3, pack("H", 6)),
            ifd.Entry(0x0112, 3, pack("H", orientation)),
            ifd.Entry(0x0201, 4, bytes(4)),
            ifd.Entry(0x0202, 4, pack("I", len(small))),
        ]
        second = bytearray(ifd.pack(tags, order, place))
        struct.pack_into(order + "I", second, 2 + 12 * 2 + 8, place + len(second))
        data += second + small
    return bytes(data)


def jpeg_of(image, **options):
    return saved(image, "JPEG", exif=b"Exif\0\0" + exif_data(), icc_profile=PROFILE, xmp=XMP, comment=b"mine",
                 dpi=(300, 300), quality=92, **options)  # fmt: skip


def scene():
    """The red of the thumbnail in a grey picture, as stored, and its hole, upright."""
    stored = np.full((60, 90, 3), 128, np.uint8)
    stored[20:40, 30:60] = RED
    hole = np.zeros((60, 90), bool)
    hole[16:44, 26:64] = True
    return Image.fromarray(stored), np.rot90(hole, -1)


def grey_fill(photo, hole):
    return fill(photo, hole, np.full((3, *hole.shape), 128 / 255))


def segments_by_mark(data):
    return [(marker, content[:12]) for marker, content in jpeg.segments(data)[0] if marker[0] >= 0xE0]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_camera_jpeg_keeps_everything_and_its_stored_orientation(order):
    image, hole = scene()
    data = saved(image, "JPEG", exif=b"Exif\0\0" + exif_data(order), icc_profile=PROFILE, xmp=XMP, comment=b"mine")
    photo = read_photo(data)
    assert (photo.height, photo.width) == (90, 60)
    again = encode_photo(grey_fill(photo, hole))
    assert segments_by_mark(again) == segments_by_mark(data)
    before, after = opened(data), opened(again)
    assert after.size == (90, 60)
    assert after.info["icc_profile"] == PROFILE
    assert after.info["comment"] == b"mine"
    assert after.info["xmp"] == XMP
    old, new = before.getexif(), after.getexif()
    assert dict(new) == dict(old)
    assert new.get_ifd(0x8769)[0x927C] == MAKER
    assert new.get_ifd(0x8825) == old.get_ifd(0x8825)
    assert len(after.info["exif"]) == len(before.info["exif"])
    assert after.info["exif"].index(MAKER) == before.info["exif"].index(MAKER)


def thumbnail_in(exif):
    start = exif.index(b"\xff\xd8\xff")
    return Image.open(io.BytesIO(exif[start:])).convert("RGB")


def test_the_thumbnail_no_longer_shows_what_was_removed():
    image, hole = scene()
    data = jpeg_of(image)
    photo = read_photo(data)
    assert "thumbnail in the EXIF data is drawn again" in " ".join(check_storable(photo))
    assert thumbnail_in(photo.metadata.exif).getpixel((80, 60))[0] > 200
    for suffix in (".jpg", ".png", ".webp"):
        small = thumbnail_in(opened(encode_photo(grey_fill(photo, hole), suffix)).info["exif"])
        seen = np.asarray(small).astype(int)
        assert np.abs(seen - 128).max() < 12, suffix
        assert small.size == ((160, 107) if suffix == ".jpg" else (80, 120)) or max(small.size) <= 160


def test_a_thumbnail_that_finds_no_room_is_removed():
    exif = exif_data()
    noise = lambda width, height: pil("RGB", pixels("RGB", height, width))  # noqa: E731
    cut = with_thumbnail(exif, noise)
    assert len(cut) == len(exif)
    assert b"\xff\xd8\xff" not in cut
    image = Image.new("RGB", (8, 8))
    kept = opened(saved(image, "JPEG", exif=b"Exif\0\0" + cut))
    assert kept.getexif()[0x010F] == "A camera"
    assert kept.getexif().get_ifd(0x0201) == {}


def test_pictures_hidden_in_makers_notes_are_blanked():
    maker = b"notes" + thumbnail_of(RED, (320, 240)) + b"more notes"
    exif = exif_data(maker=maker)
    photo = read_photo(saved(scene()[0], "JPEG", exif=b"Exif\0\0" + exif))
    kept = photo.metadata.exif
    assert len(kept) == len(exif)
    assert kept.count(b"\xff\xd8\xff") == 1  # the thumbnail, which is drawn again
    assert b"notes" in kept
    assert b"more notes" in kept
    assert without_embedded_images(b"a\xff\xd8\xffb") == b"a\xff\xd8\xffb"  # how a JPEG begins, but none


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_other_formats_keep_the_stored_orientation_too(form):
    values = pixels("RGB", 10, 20)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 8, "A camera"
    data = saved(Image.fromarray(values), form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    photo, hole = read_photo(data), some_hole(20, 10)
    assert (photo.height, photo.width) == (20, 10)
    again = encode_photo(fill(photo, hole))
    after = Image.open(io.BytesIO(again))
    if form == "TIFF":  # Pillow gives the size as it will be
        assert tifffile.TiffFile(io.BytesIO(again)).pages.first.shape[:2] == (10, 20)
    else:
        assert after.size == (20, 10)
    assert after.getexif()[0x0112] == 8
    assert after.getexif()[0x010F] == "A camera"
    if form != "AVIF":
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(after))[~hole], np.rot90(values)[~hole])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_another_format_gets_the_photo_upright(orientation, suffix):
    values = pixels("RGB", 10, 20)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "A camera"
    source = saved(Image.fromarray(values), "PNG" if suffix != ".png" else "TIFF", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(source))))
    photo = read_photo(source)
    assert np.array_equal(photo.pixels, expected)
    again = opened(encode_photo(photo, suffix))
    assert again.size == expected.shape[1::-1]
    assert again.getexif().get(0x0112, 1) == 1
    assert again.getexif()[0x010F] == "A camera"
    if suffix != ".jpg":
        assert np.array_equal(np.asarray(again), expected)


def test_xmp_turns_upright_with_the_photo():
    photo = read_photo(jpeg_of(scene()[0]))
    assert b'tiff:Orientation="1"' in opened(encode_photo(photo, ".webp")).info["xmp"]
    assert b'tiff:Orientation="6"' in opened(encode_photo(photo)).info["xmp"]


ACROSS = {".jpg": True, ".png": True, ".tif": True, ".webp": False, ".avif": False}


@pytest.mark.parametrize("source", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("target", list(ACROSS))
def test_metadata_goes_from_format_to_format(source, target):
    photo = read_photo(encode_photo(read_photo(jpeg_of(scene()[0])), source))
    again = opened(encode_photo(photo, target))
    assert again.info["icc_profile"] == PROFILE
    exif = again.getexif()
    assert exif[0x010F] == "A camera"
    assert exif.get_ifd(0x8769)[0x9003] == "2026:11:21 09:00:00"
    assert exif.get_ifd(0x8769)[0x927C] == MAKER
    assert exif.get_ifd(0x8825)[1] == "N"
    found = again.info.get("xmp") or again.info.get("XML:com.adobe.xmp")
    assert b"a title" in (found.encode() if isinstance(found, str) else found)
    if ACROSS[target]:
        assert again.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    lost = [note for note in check_storable(photo, target) if "no place" in note]
    if source == ".jpg":
        assert (
            lost
            == {
                ".jpg": [],
                ".png": [],
                ".tif": ["TIFF has no place for the photo's comment"],
                ".webp": ["WebP has no place for the photo's resolution, comment"],
                ".avif": ["AVIF has no place for the photo's resolution, comment"],
            }[target]
        )


def test_a_profile_of_greys_does_not_go_with_rgb():
    source = saved(pil("L", pixels("L")), "PNG", icc_profile=grey_profile(gamma(1.8)))
    photo = read_photo(source)
    assert check_storable(photo, ".tif") == []
    assert opened(encode_photo(photo, ".tif")).info["icc_profile"] == grey_profile(gamma(1.8))
    assert check_storable(photo, ".webp") == ["WebP has no place for the photo's colour profile of greys"]
    assert "icc_profile" not in opened(encode_photo(photo, ".webp")).info


def test_a_format_without_metadata_says_what_it_loses():
    photo = read_photo(jpeg_of(scene()[0]))
    assert check_storable(photo, ".bmp") == ["BMP has no place for the photo's EXIF, XMP, colour profile, comment"]
    opened(encode_photo(photo, ".bmp"))


def test_png_keeps_every_chunk_in_its_place():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a title")
    info.add_text("Long", "words " * 500, zip=True)
    info.add_itxt("Author", "Jérôme", lang="fr", tkey="Auteur", zip=True)
    info.add(b"prVt", b"private")
    image = pil("RGB", pixels("RGB")).quantize(50)
    data = saved(image, "PNG", pnginfo=info, icc_profile=PROFILE, dpi=(72, 72), exif=exif_data(orientation=1))
    late = list(png.chunks(data))
    late.insert(-1, (b"tEXt", b"After\0the pixels"))
    late.insert(1, (b"gAMA", struct.pack(">I", 45455)))
    late.insert(1, (b"tIME", b"\x07\xea\x0b\x15\x09\x00\x00"))
    data = png.SIGNATURE + b"".join(
        struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in late
    )
    again = encode_photo(fill(read_photo(data), some_hole(23, 31)))

    def beside(data):
        return [chunk for chunk in png.chunks(data) if chunk[0] not in (b"IDAT", b"PLTE", b"IHDR", b"eXIf")]

    assert sorted(beside(again)) == sorted(beside(data))
    names = [name for name, _ in png.chunks(again)]
    assert names.index(b"gAMA") < names.index(b"PLTE")
    assert names.index(b"iCCP") < names.index(b"PLTE") < names.index(b"eXIf") < names.index(b"IDAT")
    assert again.rindex(b"IDAT") < again.index(b"After\0the pixels") < again.index(b"IEND")
    after = opened(again)
    assert after.text["Author"] == "Jérôme"
    assert "PNG has no place" not in " ".join(check_storable(read_photo(data)))
    assert "JPEG has no place for the photo's texts" in check_storable(read_photo(data), ".jpg")


def test_comments_of_gif_jpeg_and_png_are_one():
    gif = saved(pil("RGB", pixels("RGB")).quantize(20), "GIF", comment=b"mine")
    photo = read_photo(gif)
    assert opened(encode_photo(photo)).info["comment"] == b"mine"
    assert opened(encode_photo(photo, ".jpg")).info["comment"] == b"mine"
    converted = encode_photo(photo, ".png")
    assert opened(converted).text["Comment"] == "mine"
    assert opened(encode_photo(read_photo(converted), ".gif")).info["comment"] == b"mine"


def test_tiff_keeps_the_tags_that_are_not_about_the_layout():
    file = io.BytesIO()
    extra = [
        (33723, 7, 9, b"IPTC data", True),
        (34377, 7, len(PHOTOSHOP), PHOTOSHOP, True),
        (65000, 2, 5, b"mine\0", True),
    ]
    tifffile.imwrite(file, pixels("RGB;16"), photometric="rgb", compression="zlib", byteorder=">", extratags=extra,
                     description="a description", resolution=(118.11, 118.11), resolutionunit="centimeter",
                     iccprofile=PROFILE, software="another program", metadata=None)  # fmt: skip
    again = encode_photo(fill(read_photo(file.getvalue()), some_hole(23, 31)))
    with tifffile.TiffFile(io.BytesIO(again)) as read:
        page = read.pages.first
        tags = {tag.code: tag.value for tag in page.tags}
        assert read.byteorder == ">"
        assert page.compression == 8
    assert tags[270] == "a description"
    assert tags[305] == "another program"
    assert tags[65000] == "mine"
    assert tags[33723] == b"IPTC data"
    assert tags[34675] == PROFILE
    assert tags[282][0] / tags[282][1] == pytest.approx(118.11)
    assert tags[296] == 3
    assert b"8BIM\x04\x04" in bytes(tags[34377])
    assert b"8BIM\x04\x0c" not in bytes(tags[34377])


SMALL = b"8BIM\x04\x0c\0\0\0\0\0\x05smalL\0"
PHOTOSHOP = b"8BIM\x04\x04\0\0\0\0\0\x03abc\0" + SMALL + b"8BIM\x04\x25\x02id\0\0\0\0\0\x02xy"


def test_photoshops_thumbnail_is_taken_out():
    kept = photoshop_without_thumbnails(PHOTOSHOP)
    assert kept == PHOTOSHOP.replace(SMALL, b"")
    assert photoshop_without_thumbnails(b"8BIM\x04") == b"8BIM\x04"
    data = jpeg.with_segments(jpeg_of(scene()[0]), [(b"\xed", b"Photoshop 3.0\0" + PHOTOSHOP)])
    again = encode_photo(read_photo(data))
    assert b"8BIM\x04\x04" in again
    assert b"smalL" not in again


def test_pictures_in_xmp_are_taken_out():
    for before, after in (
        (b"<xmpGImg:image>/9j/4AAQ</xmpGImg:image><a/>", b"<xmpGImg:image></xmpGImg:image><a/>"),
        (b'<x GImage:Data="/9j/4" GImage:Mime="image/jpeg"/>', b'<x GImage:Data="" GImage:Mime="image/jpeg"/>'),
    ):
        assert xmp_without_images(before) == after
    extended = (b"\xe1", b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b'GImage:Data="/9j/')
    edits = (b"\xe1", b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"a history of edits")
    with_picture = read_photo(jpeg.with_segments(jpeg_of(scene()[0]), [extended]))
    assert any("in the XMP data are not kept" in note for note in with_picture.notes)
    assert b"GImage:Data" not in encode_photo(with_picture)
    with_edits = read_photo(jpeg.with_segments(jpeg_of(scene()[0]), [edits]))
    assert with_edits.notes == ()
    assert b"a history of edits" in encode_photo(with_edits)


def test_a_second_picture_behind_the_first_is_not_kept_and_said():
    """MPO, as phones write it: a JPEG with previews or a gain map behind it."""
    image, _ = scene()
    file = io.BytesIO()
    image.save(file, "MPO", save_all=True, append_images=[image.resize((30, 20))], quality=90)
    photo = read_photo(file.getvalue())
    assert photo.metadata.format == "JPEG"
    assert photo.notes == ("the other images in the file (previews, depth or HDR gain maps) are not kept",)
    again = encode_photo(photo)
    assert b"MPF\0" not in again
    assert again.count(b"\xff\xd8\xff") == 1


def test_the_film_of_a_motion_photo_is_not_kept_and_said():
    xmp = XMP.replace(b"dc:title", b'GCamera:MotionPhoto="1" dc:title')
    data = saved(scene()[0], "JPEG", xmp=xmp) + b"\0\0\0\x18ftypmp42" + bytes(1000)
    photo = read_photo(data)
    assert photo.notes == ("the film behind the photo (motion photo) is not kept",)
    again = encode_photo(photo)
    assert b"ftypmp42" not in again
    assert b"MotionPhoto" not in again
    assert b' dc:title="a title"' in again


def test_photoshops_layers_in_a_tiff_are_not_kept_and_said():
    file = io.BytesIO()
    layers = b"Adobe Photoshop Document Data Block\0" + bytes(100)
    extra = [(37724, 7, len(layers), layers, True)]
    tifffile.imwrite(file, pixels("RGB"), photometric="rgb", extratags=extra, metadata=None)
    photo = read_photo(file.getvalue())
    assert "Photoshop's layers are not kept" in photo.notes[0]
    assert b"Document Data Block" not in encode_photo(photo)


def test_content_credentials_are_not_kept_and_said():
    data = jpeg.with_segments(jpeg_of(scene()[0]), [(b"\xeb", b"JP\0\1\0\0\0\1 jumb c2pa")])
    photo = read_photo(data)
    assert "content credentials (C2PA) are not kept" in photo.notes[0]
    assert b"c2pa" not in encode_photo(photo)


def test_exif_of_many_segments_is_kept_whole():
    """More than 64 kB of EXIF lie in several segments, which are read as one."""
    exif = exif_data(maker=bytes(range(250)) * 400)
    pieces = [(b"\xe1", b"Exif\0\0" + exif[start : start + 65527]) for start in range(0, len(exif), 65527)]
    photo = read_photo(jpeg.with_segments(saved(scene()[0], "JPEG"), pieces))
    again = opened(encode_photo(photo))
    assert again.getexif().get_ifd(0x8769)[0x927C] == bytes(range(250)) * 400
    assert "JPEG has no place for the photo's EXIF data of" in " ".join(
        check_storable(read_photo(encode_photo(photo, ".png")), ".jpg")
    )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"garbage", b"II*\0", b"II*\0\x08\0\0\0\x01\0\x12\x01\x02", b"MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_exif_costs_the_photo_nothing(exif):
    data = saved(Image.fromarray(pixels("RGB")), "JPEG", exif=b"Exif\0\0" + exif)
    photo = read_photo(data)
    assert b"Exif\0\0" + exif in encode_photo(photo)
    for suffix in (".png", ".tif", ".webp"):
        again = opened(encode_photo(photo, suffix))
        assert np.array_equal(np.asarray(again), photo.pixels)
    assert with_orientation(exif, 1) == exif


def test_a_broken_profile_stays_in_the_file():
    photo = read_photo(saved(Image.fromarray(pixels("RGB")), "PNG", icc_profile=b"a profile"))
    assert photo.notes == ("the colour profile is not used, but kept: no ICC profile of RGB, grey or CMYK",)
    assert opened(encode_photo(photo)).info["icc_profile"] == b"a profile"


def test_directories_are_laid_out_as_they_were_read():
    exif = exif_data(">", thumbnail=False)
    order, place = ifd.header(exif)
    assert ifd.structure(ifd.read(exif, order, place)[0], order) == exif
    for cut in range(0, len(exif) - 1, 7):
        with suppress(ifd.BrokenDirectoryError):
            ifd.read(exif[:cut], *ifd.header(exif[:cut]))


def test_deep_photos_have_metadata_too():
    deep = read_photo(encode_photo(read_photo(jpeg_of(scene()[0])), ".png"))
    deep = Photo(deep.pixels.astype(np.uint16) * 257, "RGB;16", metadata=deep.metadata)
    for suffix in (".png", ".tif"):
        again = read_photo(encode_photo(deep, suffix))
        assert again.metadata.icc == PROFILE
        assert b"A camera" in again.metadata.exif
        assert again.metadata.dpi == pytest.approx((300, 300), abs=0.01)


GAIN_MAP_XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:C="http://ns.google.com/photos/1.0/container/"
 xmlns:Item="http://ns.google.com/photos/1.0/container/item/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" hdrgm:GainMapMax='3.2' dc:source="mine">
<hdrgm:Gamma><rdf:Seq><rdf:li>1</rdf:li></rdf:Seq></hdrgm:Gamma>
<C:Directory><rdf:Seq>
<rdf:li rdf:parseType="Resource"><C:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>
<rdf:li rdf:parseType="Resource"><C:Item Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="5000"/></rdf:li>
</rdf:Seq></C:Directory><dc:title>a title</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"""

VIDEO_XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MicroVideo="1"
 xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="a title" GCamera:SpecialTypeID="x"
 GCamera:MicroVideoVersion="1" GCamera:MicroVideoOffset="4000"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize(
    ("xmp", "gone", "said"),
    [
        (GAIN_MAP_XMP, (b"hdrgm", b"Directory", b"Item", b"5000"), "points at no gain map"),
        (VIDEO_XMP, (b"MicroVideo",), "motion photo"),
    ],
)
def test_xmp_points_at_nothing_that_is_gone(xmp, gone, said, form):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    options = {"pnginfo": info} if form == "PNG" else {"tiffinfo": {700: xmp}} if form == "TIFF" else {"xmp": xmp}
    photo = read_photo(saved(scene()[0], form, **options))
    (note,) = photo.notes
    assert said in note
    for suffix in (None, ".jpg", ".png"):
        again = encode_photo(photo, suffix)
        assert not any(word in again for word in gone)
        assert b"a title" in again
    root = ElementTree.fromstring(photo.metadata.xmp)
    assert root.find(".//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description") is not None
    assert xmp_without_images(photo.metadata.xmp) == photo.metadata.xmp


def test_iso_gain_map_segments_are_dropped():
    segment = (b"\xe2", b"urn:iso:std:iso:ts:21496:-1\0" + bytes(8))
    photo = read_photo(jpeg.with_segments(jpeg_of(scene()[0]), [segment]))
    assert "gain maps) are not kept" in photo.notes[0]
    assert b"21496" not in encode_photo(photo)


def test_hostile_xmp_takes_no_long_time():
    started = time.perf_counter()
    for xmp in (
        b"<hdrgm:a " * 100_000,
        b"<hdrgm:a>" * 100_000,
        b'<a:b hdrgm:c="' * 100_000,
        b"<GImage:Data " * 100_000,
    ):
        xmp_without_images(xmp)
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mark", [b"", MARK])
def test_the_size_in_exif_data_is_changed_in_place(order, mark):
    inner = (
        ifd.Entry(0xA002, 4, struct.pack(order + "I", 30)),
        ifd.Entry(0xA003, 3, struct.pack(order + "H", 20)),
        ifd.Entry(0x927C, 7, MAKER),
    )
    before = ifd.structure([ifd.Entry(0x8769, 4, bytes(4), inside=inner)], order)
    for size, found in (((90, 60), (90, 60)), ((100_000, 80_000), (100_000, 0))):  # a SHORT ends at 65535
        after = with_size(mark + before, *size)
        assert len(after) == len(mark + before)
        assert MAKER in after
        tags = ifd.read(after.removeprefix(mark), order, 8)[0][0].inside
        assert tuple(tag.integer(order) for tag in tags if tag.code != 0x927C) == found


def test_exif_data_without_a_size_or_broken_stays():
    for data in (b"", b"Exif\0\0", b"II*\0\x08", exif_data()):
        assert with_size(data, 9, 9) == data
