import numpy as np
import pytest
from PIL import Image

from pconv.errors import ImageFileError, InputError
from pconv.masks.reader import detect_polarity, find_masks, read_mask


def saved(path, values, mode=None):
    image = Image.fromarray(np.asarray(values))
    (image.convert(mode) if mode else image).save(path)
    return path


def test_white_starts_at_six_tenths_of_the_range(tmp_path):
    grey = saved(tmp_path / "grey.png", np.array([[0, 152, 153, 255]], np.uint8))  # 0.6 * 255 = 153
    assert read_mask(grey, white_is_hole=True).tolist() == [[False, False, True, True]]
    assert read_mask(grey, white_is_hole=False).tolist() == [[True, True, False, False]]
    deep = saved(tmp_path / "deep.png", np.array([[0, 39320, 39321, 65535]], np.uint16))  # 0.6 * 65535 = 39321
    assert read_mask(deep, white_is_hole=True).tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
def test_masks_of_every_mode_mean_the_same(tmp_path, mode):
    path = saved(tmp_path / "mask.png", np.array([[0, 255], [255, 0]], np.uint8), mode)
    assert read_mask(path, white_is_hole=True).tolist() == [[False, True], [True, False]]


def test_transparent_pixels_are_black(tmp_path):
    path = saved(tmp_path / "mask.png", np.array([[[255, 255, 255, 0], [255, 255, 255, 255]]], np.uint8))
    assert read_mask(path, white_is_hole=True).tolist() == [[False, True]]


def test_masks_are_found_in_all_folders(tmp_path):
    (tmp_path / "b").mkdir()
    saved(tmp_path / "b" / "2.png", np.zeros((2, 2), np.uint8))
    saved(tmp_path / "1.bmp", np.zeros((2, 2), np.uint8))
    (tmp_path / "notes.txt").write_text("no mask")
    assert [path.name for path in find_masks(tmp_path)] == ["1.bmp", "2.png"]
    with pytest.raises(InputError, match="no folder of masks at"):
        find_masks(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no masks"):
        find_masks(tmp_path / "empty")


def folder_of(tmp_path, parts):
    """Masks of 10 x 10 pixels with the given parts white."""
    paths = []
    for i, part in enumerate(parts):
        pixels = np.zeros(100, np.uint8)
        pixels[: round(100 * part)] = 255
        paths.append(saved(tmp_path / f"{i}.png", pixels.reshape(10, 10)))
    return paths


def test_polarity_is_that_of_most_masks(tmp_path):
    assert detect_polarity(folder_of(tmp_path, [0.1, 0.3, 0.2, 0.7])) is True
    assert detect_polarity(folder_of(tmp_path, [0.9, 0.3, 0.8, 0.95])) is False
    assert detect_polarity(folder_of(tmp_path, [0.1, 1.0, 1.0, 1.0])) is True  # white all over: no vote


def test_unclear_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="the median one is 50% white: say white-hole or white-valid"):
        detect_polarity(folder_of(tmp_path, [0.5, 0.45, 0.55]))
    with pytest.raises(InputError, match="all masks are empty: the 3 looked at have one colour each"):
        detect_polarity(folder_of(tmp_path, [0.0, 1.0, 0.0]))


def test_a_broken_mask_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ImageFileError, match=r"cannot read the mask .*broken\.png"):
        read_mask(tmp_path / "broken.png", white_is_hole=True)
