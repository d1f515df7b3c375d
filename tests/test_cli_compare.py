"""``pconv compare``: sheets of before, mask and after."""

import base64
import io
import re

import numpy as np
import pytest
from batch_folders import make_folders, results
from click.testing import CliRunner
from PIL import Image

from pconv.cli import main
from pconv.report.comparison import PhotoFiles, compare_photo


def pconv(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Photos, masks, and ``out`` from a run in which one failed."""
    folder = tmp_path_factory.mktemp("filled")
    make_folders(folder, 5)
    (folder / "photos/s0/p000.png").write_text("no image")
    run = pconv("batch", folder / "photos", folder / "masks", "-o", folder / "out", "--backend", "onnxruntime")
    assert run.exit_code == 1
    return folder


def embedded(page, kind):
    """The pictures of one class in a page."""
    found = re.findall(rf'<img class="{kind}"[^>]*src="data:image/\w+;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


def hole_of(picture):
    return np.asarray(picture.convert("RGBA"))[..., 3] > 0


@pytest.mark.parametrize("masks", [True, False])
def test_a_page_shows_every_photo_and_what_failed(filled, tmp_path, masks):
    out = tmp_path / "sheet.html"
    options = ["--masks", filled / "masks"] if masks else []
    result = pconv("compare", filled / "photos", filled / "out", *options, "-o", out)
    assert result.exit_code == 0, result.output
    page = out.read_text()
    assert "1 without a result" in page
    assert "s0/p000.png is not an image" in page
    names = sorted(results(filled / "out"))
    assert re.findall("<h2>(.*?)</h2>", page) == names
    for kind, folder in (("before", "photos"), ("after", "out")):
        for name, picture in zip(names, embedded(page, kind), strict=True):
            original = np.asarray(Image.open(filled / folder / name).convert("RGB")).astype(int)
            assert np.abs(np.asarray(picture).astype(int) - original).mean() < 12  # noise, as JPEG
    for name, picture in zip(names, embedded(page, "mask"), strict=True):
        hole = np.asarray(Image.open(filled / "masks" / name))
        missed = hole_of(picture) != hole
        assert missed.mean() == 0 if masks else missed.sum() <= 0.02 * hole.sum()
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_a_picture_has_a_row_for_each_photo(filled, tmp_path):
    out = tmp_path / "sheet.png"
    result = pconv("compare", filled / "photos", filled / "out", "--masks", filled / "masks", "-o", out, "--limit", 2)
    assert result.exit_code == 0
    assert "2 of 4 photos are shown, evenly spread; --limit 4 shows all" in result.stderr
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (2 * (48 + 20), 3 * 68, 3)
    hole = np.asarray(Image.open(filled / "masks/s0/p003.png"))
    assert np.array_equal(sheet[16:64, 68:132, 0] > 127, hole)
    assert np.array_equal(sheet[16:64, 136:200], np.asarray(Image.open(filled / "out/s0/p003.png")))


def test_two_files(filled, tmp_path):
    name = "s1/p001.png"
    out = tmp_path / "one.html"
    assert pconv("compare", filled / "photos" / name, filled / "out" / name, "-o", out).exit_code == 0
    assert len(embedded(out.read_text(), "after")) == 1


def test_a_large_photo_is_shrunk_and_its_hole_shown_closer(tmp_path):
    photo = np.full((1200, 1600, 3), 90, np.uint8)
    after = photo.copy()
    after[300:310, 1000:1100] = 200
    for name, pixels in (("before.png", photo), ("after.png", after)):
        Image.fromarray(pixels).save(tmp_path / name)
    whole, closer = compare_photo(PhotoFiles("x", tmp_path / "before.png", tmp_path / "after.png"), 400).panels
    assert whole.after.size == (400, 300)
    assert whole.hole[75:77, 250:275].all()
    assert whole.hole.sum() <= 4 * 27
    assert closer.hole.sum() == 10 * 100
    assert (np.asarray(closer.after)[closer.hole] == 200).all()
    assert (np.asarray(closer.before) == 90).all()


def test_the_hole_in_a_jpeg_is_found_though_all_pixels_changed(tmp_path):
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.integers(60, 200, (8, 8, 3), dtype=np.uint8)).resize((128, 128)))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=85)
    after = np.asarray(Image.open(tmp_path / "a.jpg")).copy()
    after[40:60, 30:90] = (250, 30, 30)
    Image.fromarray(after).save(tmp_path / "b.jpg", quality=85)
    hole = compare_photo(PhotoFiles("x", tmp_path / "a.jpg", tmp_path / "b.jpg"), 400).panels[0].hole
    assert hole[40:60, 30:90].mean() > 0.95
    hole[24:76, 14:106] = False  # the blocks of 16 px that JPEG computes with
    assert hole.mean() < 0.01


def test_what_cannot_be_shown_is_said(filled, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("x.png", "y.png"):
        Image.new("RGB", (20, 30)).save(tmp_path / "a" / name)
        Image.new("RGB", (20, 30) if name == "x.png" else (40, 30)).save(tmp_path / "b" / name)
    Image.new("RGB", (9, 9)).save(tmp_path / "a/more.png")
    out = tmp_path / "s.html"
    result = pconv("compare", tmp_path / "a", tmp_path / "b", "-o", out)
    assert result.exit_code == 0
    assert "not one photo before and after" in result.stderr
    assert "1 that could not be shown" in out.read_text()
    assert "1 photos have no result, such as more.png" in out.read_text()


def test_names_are_text_and_not_markup(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (20, 30)).save(tmp_path / folder / "<script>x\n.png")
    out = tmp_path / "s.html"
    assert pconv("compare", tmp_path / "a", tmp_path / "b", "-o", out).exit_code == 0
    assert "<script>x" not in out.read_text()
    assert "&lt;script&gt;x" in out.read_text()
    assert pconv("compare", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "s.png").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "out", "-o", "s.pdf"], "cannot make a sheet of kind '.pdf': name an .html or a .png"),
        (["photos", "photos/s1/p001.png", "-o", "s.html"], "two files or two folders"),
        (["photos", "nowhere", "-o", "s.html"], "nowhere does not exist"),
        (["nowhere", "out", "-o", "s.html"], "nowhere does not exist"),
        (["photos", "out", "--masks", "nowhere", "-o", "s.html"], "nowhere do not exist"),
        (["photos", "empty", "-o", "s.html"], "no images in empty"),
        (["photos", "out", "-o", "no/where/s.html"], "where does not exist"),
        (["photos", "out", "-o", "s.html", "--size", "9"], "9 is not in the range"),
        (["photos", "out", "-o", "s.html", "--mask-pattern", "x.png"], "the same mask for every photo"),
        (["photos/s1/p001.png", "out/s1/p001.png", "--masks", "masks", "-o", "s.html"], "masks is a folder"),
        (["photos/s1/p001.png", "out/s1/p001.png", "-o", "out/s1/p001.png"], "would overwrite the input"),
    ],
)
def test_wrong_usage_gets_one_sentence(filled, monkeypatch, arguments, message):
    monkeypatch.chdir(filled)
    (filled / "empty").mkdir(exist_ok=True)
    result = pconv("compare", *arguments)
    assert result.exit_code == 2, result.output
    sentence = re.search(r"Error: (.*)", result.output, re.S)[1].strip()
    assert message in sentence
    assert "\n" not in sentence
