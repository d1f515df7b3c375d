from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pconv.errors import InputError
from pconv.evaluation.protocol import (
    CELLS,
    Cell,
    border_margin,
    cell_of,
    common_size,
    fit_photo,
    generated_masks,
    hole_of,
    mask_set_hash,
    pair_up,
    readable_photos,
    sorted_masks,
)
from pconv.images.reading import find_photos
from pconv.masks.strokes import RATIO_BINS


def test_the_made_masks_are_the_same_bytes_everywhere():
    """Whoever changes a hole changes MASK_SET, and these."""
    assert mask_set_hash(hole_of(mask) for mask in generated_masks(512, 512, 2)) == (
        "7da073aa8d409ae6878fae7c7e4b4f48e71b0055bc0f6441b57443fccf0e8c28"
    )
    assert mask_set_hash(hole_of(mask) for mask in generated_masks(320, 480, 2)) == (
        "2824a7e17d0d6250882ae1b853884dd640eeed616e98c006a20725856907858a"
    )


def test_the_hash_sees_every_bit_and_the_size():
    hole = np.zeros((8, 16), dtype=bool)
    other = hole.copy()
    other[7, 15] = True
    assert (
        len({mask_set_hash([hole]), mask_set_hash([other]), mask_set_hash([hole.T]), mask_set_hash([hole] * 2)}) == 4
    )


@pytest.mark.parametrize(("height", "width"), [(320, 480), (96, 96)])
def test_made_masks_are_in_their_cells(height, width):
    margin = border_margin(height, width)
    for mask in generated_masks(height, width, 3):
        hole = hole_of(mask)
        low, high = RATIO_BINS[mask.cell.bin]
        assert low < hole.mean() <= high
        near = np.ones_like(hole)
        near[margin:-margin, margin:-margin] = False
        assert (hole & near).any() == mask.cell.border


def test_more_masks_begin_with_the_same_ones():
    assert generated_masks(320, 480, 3)[: 2 * len(CELLS)] == generated_masks(320, 480, 2)
    assert len({mask_set_hash([hole_of(mask)]) for mask in generated_masks(96, 96, 3)}) == 3 * len(CELLS)


def test_the_margin_is_the_papers_50_px_and_scales_below_512():
    assert border_margin(512, 512) == 50
    assert border_margin(2000, 3000) == 50
    assert border_margin(320, 480) == border_margin(480, 320) == 32


def test_bins_hold_their_upper_end_and_not_their_lower():
    hole = np.zeros((100, 100), dtype=bool)
    hole.flat[:1000] = True
    assert cell_of(hole) == Cell(0, True)
    hole.flat[1000] = True
    assert cell_of(hole) == Cell(1, True)
    inside = np.zeros((100, 100), dtype=bool)
    inside[10:90, 10:90] = np.arange(80) % 4 == 0
    assert cell_of(inside) == Cell(1, False)
    inside[9, 50] = True
    assert cell_of(inside) == Cell(1, True)
    for ratio in (0, 100, 6001):
        hole[:] = False
        hole.flat[:ratio] = True
        assert cell_of(hole) is None


def test_a_folder_of_masks_is_sorted_into_cells_and_counted(tmp_path):
    for number, part in enumerate((0, 5, 15, 16, 17, 90)):
        hole = np.zeros((100, 100), np.uint8)
        hole[:part] = 255
        Image.fromarray(hole).save(tmp_path / f"{number}.png")
    seen = []
    found = sorted_masks(sorted(tmp_path.iterdir()), True, 2, lambda: seen.append(1))
    assert [(mask.cell, mask.number, mask.source[-5:]) for mask in found.masks] == [
        (Cell(0, True), 0, "1.png"),
        (Cell(1, True), 0, "2.png"),
        (Cell(1, True), 1, "3.png"),
    ]
    assert (found.counts[Cell(1, True)], found.outside, found.empty, len(seen)) == (3, 1, 1, 6)
    with pytest.raises(
        InputError, match=r"no mask has a hole ratio in 0.01-0.6: 1 have no hole at all, 1 another ratio"
    ):
        sorted_masks([tmp_path / "0.png", tmp_path / "5.png"], True, 2)


def test_photos_are_cropped_at_their_scale_or_shrunk_first(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (110, 130, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(fit_photo(tmp_path / "a.png", (100, 110)), pixels[5:105, 10:120])
    shrunk = fit_photo(tmp_path / "a.png", (50, 64))  # at 50 high it would be 59 wide: width decides
    expected = Image.fromarray(pixels).resize((64, 54), Image.Resampling.LANCZOS).crop((0, 2, 64, 52))
    assert np.array_equal(shrunk, np.asarray(expected))
    with pytest.raises(InputError, match="130x110 px, smaller than its mask 140x100"):
        fit_photo(tmp_path / "a.png", (100, 140))


def test_made_masks_turn_with_the_photo_and_no_photo_is_smaller():
    photos = [Path("wide.png"), Path("tall.png")]
    pairs = pair_up(generated_masks(64, 96, 2), photos, [(65, 99), (99, 65)])
    assert {(pair.photo.name, pair.mask.size) for pair in pairs} == {("wide.png", (64, 96)), ("tall.png", (96, 64))}
    for pair in pairs[:3]:
        assert hole_of(pair.mask).shape == pair.mask.size
    with pytest.raises(InputError, match=r"wide.png is 99x63 px, and the masks are 96x64: take larger.*--size"):
        pair_up(generated_masks(64, 96, 1), photos[:1], [(63, 99)])


def test_every_photo_is_used_as_often_and_each_cell_sees_many():
    photos = [Path(f"{number}.png") for number in range(3)]
    pairs = pair_up(generated_masks(64, 64, 10), photos, [(64, 64)] * 3)
    assert Counter(pair.photo for pair in pairs) == dict.fromkeys(photos, 40)
    for cell in CELLS:
        assert len({pair.photo for pair in pairs if pair.mask.cell == cell}) == 3


def test_the_common_size_is_what_all_photos_hold():
    assert common_size([(321, 481), (481, 321)]) == (320, 480)
    assert common_size([(4000, 3000), (600, 800)]) == (512, 512)
    assert common_size([(300, 451), (320, 320)]) == (288, 320)


def test_unreadable_photos_are_told_and_left_out(tmp_path):
    Image.new("RGB", (70, 60)).save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("no photo")
    (tmp_path / "notes.txt").write_text("no photo either")
    paths = find_photos(tmp_path)
    assert [path.name for path in paths] == ["bad.jpg", "good.png"]
    good, sizes, problems = readable_photos(paths)
    assert ([path.name for path in good], sizes) == (["good.png"], [(60, 70)])
    assert "bad.jpg" in problems[0]
    with pytest.raises(InputError, match=r"none of the 1 photos can be read: .*bad\.jpg"):
        readable_photos(paths[:1])
