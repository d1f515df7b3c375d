import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pconv.cli import main


def pconv(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def frames(tmp_path):
    """A square that moves over a textured background."""
    folder = tmp_path / "frames"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 27, 3), dtype=np.uint8)
    background = Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)
    square = Image.fromarray(noise[::-1, ::-1]).resize((100, 100), Image.Resampling.BICUBIC)
    for i in range(4):
        frame = background.copy()
        frame.paste(square, (40 + 12 * i, 70))
        frame.save(folder / f"{i}.png")
    return folder


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for i in range(3):
        pixels = np.full((100, 100), 255, np.uint8)
        pixels[30:60, 20 : 50 + 5 * i] = 0
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def test_flow_writes_masks_and_a_preview(frames, tmp_path):
    result = pconv("masks", "flow", frames, "-o", tmp_path / "out", "--ratio", "0.001-0.5")
    assert result.exit_code == 0
    assert "3 masks in" in result.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["flow-00000.png", "flow-00001.png", "flow-00002.png", "preview.png"]
    hole = Image.open(tmp_path / "out" / "flow-00000.png")
    assert (hole.mode, hole.size) == ("1", (320, 240))
    assert 0.001 <= np.asarray(hole).mean() <= 0.5
    limited = pconv("masks", "flow", frames, "-o", tmp_path / "two", "--ratio", "0.001-0.5", "--limit", 1)
    assert "1 masks in" in limited.output


def test_flow_without_a_fitting_mask_fails_with_what_came(frames, tmp_path):
    result = pconv("masks", "flow", frames, "-o", tmp_path / "out", "--ratio", "0.9-0.95")
    assert result.exit_code == 1
    assert "no hole ratio in 0.9-0.95 among 3 pairs of frames, but 0." in result.output
    assert not (tmp_path / "out").exists()


def test_flow_of_what_is_no_video(frames, tmp_path):
    (tmp_path / "text.mp4").write_text("nothing")
    for source, message in (("text.mp4", "cannot be read as a video"), ("none.mp4", "no video or folder of frames")):
        result = pconv("masks", "flow", tmp_path / source, "-o", tmp_path / "out")
        assert result.exit_code == 1
        assert message in result.output
    for path in sorted(frames.iterdir())[1:]:
        path.unlink()
    assert "optical flow needs two frames" in pconv("masks", "flow", frames, "-o", tmp_path / "out").output


def test_augment_detects_the_polarity_and_repeats(masks, tmp_path):
    call = ("masks", "augment", masks, "-n", 4, "--size", "80x60", "--ratio", "0.05-0.4", "--seed", 3)
    result = pconv(*call, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "3 masks, white = valid (detected)" in result.output
    holes = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").iterdir())]
    assert [hole.shape for hole in holes] == [(60, 80)] * 4
    assert all(0.05 <= hole.mean() <= 0.4 for hole in holes)
    pconv(*call, "-o", tmp_path / "again")
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    given = pconv(*call, "-o", tmp_path / "other", "--polarity", "white-valid")
    assert "white = valid (as given)" in given.output


def test_augment_refuses_in_a_sentence(masks, tmp_path):
    same = pconv("masks", "augment", masks, "-o", masks)
    assert same.exit_code == 2
    assert "is the folder of the masks themselves" in same.output
    none = pconv("masks", "augment", tmp_path / "none", "-o", tmp_path / "out")
    assert none.exit_code == 2
    assert "no folder of masks" in none.output
    for path in masks.iterdir():
        Image.new("L", (50, 50)).save(path)
    empty = pconv("masks", "augment", masks, "-o", tmp_path / "out")
    assert empty.exit_code == 1
    assert "has one value only" in empty.output
    given = pconv("masks", "augment", masks, "-o", tmp_path / "out", "--polarity", "white-hole")
    assert given.exit_code == 1
    assert "among 100 augmented masks" in given.output
