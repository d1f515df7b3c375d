"""What a mask marks, kind by kind of mask."""

import numpy as np
import pytest

from pconv import InputError
from pconv.masks.rule import hole_from_values

EDGE = np.array([[0, 0, 1, 1]])


def marked(values, **options):
    notes = []
    hole = hole_from_values(np.asarray(values), notes=notes, **options)
    return hole.astype(int).tolist(), notes


def refused(values, **options):
    with pytest.raises(InputError) as refusal:
        hole_from_values(np.asarray(values), **options)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "note"),
    [
        (bool, 0, 1, False), (np.uint8, 0, 255, False), (np.uint8, 0, 1, True), (np.uint16, 0, 65535, False),
        (np.uint16, 0, 255, True), (np.int32, 0, 255, False), (np.int64, 0, 1, True), (np.float32, 0, 1, False),
        (np.float64, 0.25, 0.5, True), (np.uint8, 30, 40, True), (np.int16, -1, 0, True),
    ],
)  # fmt: skip
def test_of_two_values_the_larger_is_filled(dtype, low, high, note):
    hole, notes = marked(np.where(EDGE, high, low).astype(dtype))
    assert hole == EDGE.tolist()
    assert bool(notes) == note
    if note:
        assert notes == [f"the mask has the values {low:g} and {high:g}: {high:g} is filled"]


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1), (np.int32, 255)])
def test_one_value(dtype, full):
    assert marked(np.zeros((2, 2), dtype)) == ([[0, 0]] * 2, [])
    assert marked(np.full((2, 2), full, dtype)) == ([[1, 1]] * 2, [])
    assert "one value only, " in refused(np.full((2, 2), full / 5, dtype))


def test_label_maps_are_refused_with_their_values_unless_labels_are_chosen():
    labels = np.array([[0, 1, 2, 21]], np.uint8)
    assert "label map with the values 0, 1, 2, 21;" in refused(labels)
    assert marked(labels, labels=[1, 21])[0] == [[0, 1, 0, 1]]
    assert marked(labels, labels=[5])[0] == [[0, 0, 0, 0]]
    assert marked(np.arange(64, dtype=np.uint8)[None])[0] == [[0] * 64]  # 64 values are no label map


def test_other_greys_are_filled_from_half_of_the_range_on():
    assert marked(np.array([[0, 127, 128, 255]], np.uint8))[0] == EDGE.tolist()
    assert marked(np.array([[0, 32767, 32768, 65535]], np.uint16))[0] == EDGE.tolist()
    assert marked(np.array([[0, 0.49, 0.5, 1]], np.float32))[0] == EDGE.tolist()
    assert marked(np.array([[0, 127, 128, 255]], np.int64))[0] == EDGE.tolist()
    assert marked(np.array([[0, 300, 40000, 65535]], np.int64))[0] == EDGE.tolist()


def test_many_soft_pixels_are_told():
    ramp = np.linspace(0, 255, 256).astype(np.uint8)[None]
    assert "neither dark nor bright" in marked(ramp)[1][0]
    sharp = np.repeat(np.array([0, 255], np.uint8), 500)[None]
    sharp[0, 499] = 120
    assert marked(sharp)[1] == []


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (np.array([[0, 1, 70000]]), "0 to 70000"),
        (np.array([[-5, 0, 200]]), "-5 to 200"),
        (np.array([[0, 0.5, 255]]), "0 to 255"),
        (np.array([[0, 0.5, -1]]), "-1 to 0.5"),
        (np.array([[0, np.nan, 1]]), "NaN"),
    ],
)
def test_values_out_of_range_are_refused(values, shown):
    assert shown in refused(values)


def colours(*values):
    return np.array([values], np.uint8)


BLACK, RED, GREEN, WHITE = (0, 0, 0), (255, 0, 0), (0, 200, 0), (255, 255, 255)


def test_colours():
    hole, notes = marked(colours(BLACK, BLACK, RED, RED))
    assert hole == EDGE.tolist()
    assert notes == ["the mask is black and #ff0000: #ff0000 is filled"]
    assert marked(colours(GREEN, BLACK))[0] == [[1, 0]]
    assert marked(colours(BLACK, WHITE))[0] == [[0, 1]]
    assert marked(colours((3, 0, 9), (250, 240, 255), (10, 2, 0)))[0] == [[0, 1, 0]]  # JPEG
    for photo in (colours(RED, GREEN), colours(BLACK, RED, GREEN), colours(RED, WHITE)):
        assert "looks like a photo" in refused(photo)


def test_palettes():
    palette = np.array([BLACK, RED, GREEN, WHITE, (128, 128, 128)], np.uint8)
    assert marked(np.array([[0, 1]]), palette=palette)[0] == [[0, 1]]
    assert marked(np.array([[0, 3, 4]]), palette=palette)[0] == [[0, 1, 1]]
    assert "indices 0, 1, 2;" in refused(np.array([[0, 1, 2]]), palette=palette)
    assert marked(np.array([[0, 1, 2]]), palette=palette, labels=[2])[0] == [[0, 0, 1]]


def test_alpha():
    opaque = np.array([[0, 0, 255, 255]], np.uint8)
    hole, notes = marked(np.zeros((1, 4), np.uint8), alpha=opaque)
    assert hole == EDGE.tolist()
    assert "opaque part is filled" in notes[0]
    strokes = colours(WHITE, BLACK, RED, RED)  # what is transparent has any colour
    assert marked(strokes, alpha=opaque)[0] == EDGE.tolist()
    greys = np.array([[255, 0, 255, 0]], np.uint8)
    assert marked(greys, alpha=np.array([[0, 255, 255, 255]], np.uint8))[0] == [[0, 0, 1, 0]]
    assert marked(greys, alpha=np.full((1, 4), 7, np.uint8))[0] == [[1, 0, 1, 0]]  # constant alpha says nothing
