"""The command as a person types it: results, messages, exit codes; never a traceback."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pconv.cli import main


def pconv(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def said(result, code):
    """The one sentence of a failed call."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return re.search(r"Error: (.*)", result.output, re.S)[1].strip()


@pytest.fixture
def files(tmp_path):
    """A photo and masks of it, in the folder that is returned."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    hole = np.zeros((48, 64), bool)
    hole[20:26, 10:50] = True
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=95)
    Image.fromarray(hole).save(tmp_path / "mask.png")
    Image.fromarray(~hole).save(tmp_path / "inverted.png")
    Image.fromarray(np.zeros_like(hole)).save(tmp_path / "black.png")
    Image.fromarray(np.ones_like(hole)).save(tmp_path / "white.png")
    Image.fromarray(hole[:40]).save(tmp_path / "short.png")
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(tmp_path / "clear.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "photo.png").read_bytes()[:4000])
    return tmp_path


@pytest.mark.parametrize("photo", ["photo.png", "photo.jpg"])
@pytest.mark.parametrize("out", ["out.png", "out.webp"])
def test_inpaint_fills_the_hole_and_nothing_else(files, photo, out):
    result = pconv("inpaint", files / photo, files / "mask.png", "-o", files / out)
    assert result.exit_code == 0, result.output
    before, after = (np.asarray(Image.open(files / name)) for name in (photo, out))
    hole = np.asarray(Image.open(files / "mask.png"))
    assert after.shape == before.shape
    assert np.array_equal(after[~hole], before[~hole])
    assert not np.array_equal(after[hole], before[hole])


class Plain:
    """In the network's place: fills with its seed."""

    name, device, precision, path, recipe, channels, multiple = "plain", "cpu", "fp32", Path("none"), {}, 3, 128

    def __init__(self, noise):
        self.noise = noise

    def fill(self, images, holes, *, seed=0, origin=(0, 0), estimate=None, everywhere=False):  # noqa: ARG002
        return np.where(holes, np.float32(seed / 255), images)


@pytest.mark.parametrize("noise", [True, False])
def test_a_seed_for_a_photo_and_for_a_folder(files, monkeypatch, noise):
    monkeypatch.setattr("pconv.inpainting.inpainter.open_backend", lambda *_: Plain(noise))
    (files / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (files / "photos" / name).write_bytes((files / "photo.png").read_bytes())
    said_of_it = "note: the model has no noise inputs, so seed 9 gives the same fill as seed 0"
    for command, source, out, ending in (
        ("inpaint", files / "photo.png", "a.png", ""),
        ("batch", files / "photos", "filled", " (2 photos)"),
    ):
        result = pconv(command, source, files / "mask.png", "--seed", 9, "-o", files / out)
        assert result.exit_code == 0, result.output
        notes = [line for line in result.stderr.splitlines() if line.startswith("note:")]
        assert notes == ([] if noise else [said_of_it + ending])
    for path in (files / "a.png", files / "filled" / "a.png", files / "filled" / "b.png"):
        assert (np.asarray(Image.open(path))[20:26, 10:50] == (9 if noise else 0)).all()


@pytest.mark.parametrize("seed", ["-1", "64", "1.5", "a"])
def test_other_seeds_are_wrong_usage(files, seed):
    (files / "photos").mkdir()
    (files / "photos" / "a.png").write_bytes((files / "photo.png").read_bytes())
    for command, source, out in (("inpaint", "photo.png", "out.png"), ("batch", "photos", "filled")):
        result = pconv(command, files / source, files / "mask.png", "--seed", seed, "-o", files / out)
        assert re.search(rf"'--seed': '?{seed}'? is not (in the range 0<=x<=63|a valid integer)", said(result, 2))
        assert not (files / out).exists()


def test_invert_fills_what_is_black(files):
    pconv("inpaint", files / "photo.png", files / "mask.png", "-o", files / "a.png")
    pconv("inpaint", files / "photo.png", files / "inverted.png", "--invert", "-o", files / "b.png")
    assert np.array_equal(np.asarray(Image.open(files / "a.png")), np.asarray(Image.open(files / "b.png")))


def test_a_lossy_format_is_said(files):
    result = pconv("inpaint", files / "photo.jpg", files / "mask.png", "-o", files / "out.jpg")
    assert result.exit_code == 0
    assert "JPEG is lossy" in result.stderr
    assert Image.open(files / "out.jpg").format == "JPEG"


def test_nothing_to_fill_returns_the_photo_with_a_note(files):
    result = pconv("inpaint", files / "photo.png", files / "black.png", "-o", files / "out.png")
    assert result.exit_code == 0
    assert "nothing to fill" in result.stderr
    assert np.array_equal(np.asarray(Image.open(files / "out.png")), np.asarray(Image.open(files / "photo.png")))


@pytest.mark.parametrize(
    ("photo", "mask", "out", "code", "message"),
    [
        ("missing.png", "mask.png", "out.png", 2, "the photo .*missing.png does not exist"),
        ("photo.png", "missing.png", "out.png", 2, "the mask .*missing.png does not exist"),
        (".", "mask.png", "out.png", 2, "is a folder; .*pconv batch PHOTOS MASKS -o OUT"),
        ("photo.png", ".", "out.png", 2, "is a folder; .*pconv batch PHOTOS MASKS -o OUT"),
        ("text.png", "mask.png", "out.png", 1, "text.png is not an image"),
        ("photo.png", "text.png", "out.png", 1, "text.png is not an image"),
        ("cut.png", "mask.png", "out.png", 1, "cut.png is damaged or cut short"),
        ("photo.png", "short.png", "out.png", 1, "short.png is 64x40 and the photo 64x48 pixels"),
        ("photo.png", "white.png", "out.png", 1, "the mask marks the whole image"),
        ("photo.png", "mask.png", "no/such/out.png", 2, "the folder .*such does not exist"),
        ("photo.png", "mask.png", "out.xyz", 2, r"suffix '\.xyz'; use one of"),
        ("photo.png", "mask.png", "out", 2, "cannot tell a format"),
        ("photo.png", "mask.png", "photo.png", 2, "would overwrite the input .*--force"),
        ("photo.png", "mask.png", "mask.png", 2, "would overwrite the input .*--force"),
        ("photo.png", "mask.png", ".", 2, "is a folder; name the file to write"),
        ("x" * 300, "mask.png", "out.png", 2, "cannot get to .*File name too long"),
        ("photo.png", "mask.png", "x" * 300 + ".png", 2, "cannot get to .*File name too long"),
        ("clear.png", "mask.png", "out.jpg", 2, "JPEG cannot hold the transparency .*; .png, .webp"),
    ],
)
def test_wrong_input_gets_one_sentence_and_writes_nothing(files, photo, mask, out, code, message):
    before = {path: path.read_bytes() for path in files.iterdir()}
    result = pconv("inpaint", files / photo, files / mask, "-o", files / out)
    sentence = said(result, code)
    assert re.search(message, sentence)
    assert "\n" not in sentence
    assert {path: path.read_bytes() for path in files.iterdir()} == before


def test_urls_and_options_for_folders_are_refused_for_one_photo(files):
    for photo, out in (("s3://bucket/photos", "out"), (files / "photo.png", "s3://bucket/out.png")):
        assert re.search("is a URL.*pconv batch", said(pconv("inpaint", photo, files / "mask.png", "-o", out), 2))
    refused = pconv("inpaint", files / "photo.png", files / "mask.png", "-o", files / "out.png", "--shard", "1/2")
    assert "No such option" in said(refused, 2)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--model", "best", "unknown model 'best'"), ("--device", "toaster", "no device 'toaster'")],
)
def test_unknown_model_or_device_is_wrong_usage(files, option, value, message):
    result = pconv("inpaint", files / "photo.png", files / "mask.png", "-o", files / "out.png", option, value)
    assert message in said(result, 2)


def test_a_file_that_is_no_model(files):
    options = ["-o", files / "out.png", "--model", files / "text.png"]
    assert "not a complete safetensors" in said(pconv("inpaint", files / "photo.png", files / "mask.png", *options), 1)


def test_force_overwrites_the_input(files):
    before = np.asarray(Image.open(files / "photo.png"))
    photo = files / "photo.png"
    assert pconv("inpaint", photo, files / "mask.png", "-o", photo, "--force").exit_code == 0
    assert not np.array_equal(np.asarray(Image.open(photo)), before)


def test_masks_strokes_writes_what_was_asked(tmp_path):
    out = tmp_path / "new" / "masks"
    options = ["-n", 4, "--size", "80x60", "--ratio", "0.2-0.3", "--border", 5]
    result = pconv("masks", "strokes", *options, "-o", out)
    assert result.exit_code == 0, result.output
    masks = sorted(out.iterdir())
    assert [m.name for m in masks] == [f"hole-0000{i}.png" for i in range(4)]
    for path in masks:
        mask = np.asarray(Image.open(path).convert("L"))
        assert mask.shape == (60, 80)
        assert set(np.unique(mask)) == {0, 255}
        assert 0.2 <= (mask == 255).mean() <= 0.3
        assert not mask[:5].any()
    pconv("masks", "strokes", *options, "-o", tmp_path / "again")
    assert all(path.read_bytes() == (tmp_path / "again" / path.name).read_bytes() for path in masks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ratio", "lots"], "'lots' is no range of hole ratios"),
        (["--ratio", "0.3-0.2"], "0 < low <= high < 1"),
        (["--size", "big"], "'big' is no size"),
        (["--size", "0"], "'0' is no size"),
        (["--size", "²"], "'²' is no size"),
        (["--size", "9999999"], "more than 100 megapixels"),
        (["--border", "250"], "a border of 250 px leaves"),
        (["-n", "0"], "0 is not in the range"),
    ],
)
def test_masks_strokes_refuses_in_a_sentence(tmp_path, options, message):
    assert message in said(pconv("masks", "strokes", *options, "-o", tmp_path), 2)


def test_train_refuses_in_a_sentence(tmp_path):
    config = tmp_path / "run.toml"
    refused = said(pconv("train", config, "--out", tmp_path / "run"), 2)
    assert "neither a file nor one of ablation, debug, default" in refused
    config.write_text(f"photos = '{tmp_path}'\nsed = 1\n[[stages]]\nsteps = 1\nsize = 32\nbatch_size = 2\nlr = 1e-3")
    assert "unknown key 'sed'; did you mean 'seed'?" in said(pconv("train", config, "--out", tmp_path / "run"), 2)
    config.write_text(config.read_text().replace("sed =", "seed ="))
    assert "no photos" in said(pconv("train", config, "--out", tmp_path / "run"), 1)
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    assert "cannot make the folder" in said(pconv("train", config, "--out", config), 1)
    assert "nothing to resume" in said(pconv("train", config, "--out", tmp_path / "run", "--resume"), 1)
    no_vgg = pconv("train", config, "--out", tmp_path / "run", "--vgg", tmp_path / "none.pth")
    assert "no file of VGG-16 weights" in said(no_vgg, 1)
    assert "batch_size 2 cannot be split into 3" in said(pconv("train", config, "accumulate=3", "--out", tmp_path), 2)


def test_train_by_a_presets_name_in_a_folder_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()
    Image.new("RGB", (80, 80)).save(tmp_path / "2024" / "photo.png")
    result = pconv("train", "debug", "photos=2024", "stages.0.steps=2", "workers=0", "--out", "run")
    assert result.exit_code == 0, result.output
    assert result.stdout == "run/model.safetensors after 2 of 2 steps\n"


def test_shards_packs_what_can_be_read(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "shards"
    photos.mkdir()
    for i in range(3):
        Image.new("RGB", (90, 60)).save(photos / f"{i}.png")
    (photos / "broken.jpg").write_bytes(b"nothing")
    result = pconv("shards", photos, "-o", out, "--short-side", 30)
    assert result.exit_code == 0
    assert f"left out: {photos / 'broken.jpg'} is not an image" in result.output
    assert f"3 photos in 1 shards in {out}; 1 could not be read" in result.output
    assert "holds shards already" in said(pconv("shards", photos, "-o", out), 2)
    assert "no folder of photos" in said(pconv("shards", tmp_path / "none", "-o", out), 2)
    for path in photos.glob("*.png"):
        path.unlink()
    assert "none of the 1 files" in said(pconv("shards", photos, "-o", tmp_path / "other"), 1)


def test_the_installed_command_and_python_m_agree():
    command = Path(sys.executable).parent / "pconv"
    for call in ([command], [sys.executable, "-m", "pconv"]):
        done = subprocess.run([*call, "--version"], capture_output=True, text=True, check=True)
        assert re.fullmatch(r"pconv, version \d+\.\d+\.\d+\n", done.stdout)
        assert "inpaint" in subprocess.run([*call, "--help"], capture_output=True, text=True, check=True).stdout
