"""Which mask belongs to which photo."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pconv.batch.pairing import check_pattern, matches, pair, same_outputs
from pconv.errors import InputError


@pytest.mark.parametrize(
    ("photos", "masks", "expected"),
    [
        (["a.jpg", "s/b.jpg"], ["a.jpg", "s/b.jpg"], {"a.jpg": "a.jpg", "s/b.jpg": "s/b.jpg"}),
        (["a.jpg", "s/b.JPG"], ["a.png", "s/b.bmp"], {"a.jpg": "a.png", "s/b.JPG": "s/b.bmp"}),
        (["s/a.jpg", "t/b.jpg"], ["a.png", "b.png"], {"s/a.jpg": "a.png", "t/b.jpg": "b.png"}),
        (["a.jpg"], ["deep/down/a.png"], {"a.jpg": "deep/down/a.png"}),
        (["a.jpg", "s/b.jpg"], ["a_mask.png", "s/b_mask.png"], {"a.jpg": "a_mask.png", "s/b.jpg": "s/b_mask.png"}),
        (["s/a.jpg"], ["a_mask.png"], {"s/a.jpg": "a_mask.png"}),
        (["a.jpg", "a.png"], ["a.png", "a.jpg"], {"a.jpg": "a.jpg", "a.png": "a.png"}),
        (["a.jpg", "s/a.jpg"], ["a.png", "s/a.png"], {"a.jpg": "a.png", "s/a.jpg": "s/a.png"}),
        (["a.jpg", "s/a.jpg"], ["a.png"], {"a.jpg": "a.png"}),
        (["a.jpg", "a_mask.jpg"], ["a.png", "a_mask.png"], {"a.jpg": "a.png", "a_mask.jpg": "a_mask.png"}),
    ],
)
def test_pairs_by_path_then_stem_then_pattern(photos, masks, expected):
    found = pair(photos, masks)
    assert found.masks == expected
    assert not found.ambiguous
    assert found.without_mask == [photo for photo in photos if photo not in expected]


@pytest.mark.parametrize(
    ("photos", "masks"),
    [
        (["a.jpg", "a.png"], ["a.png"]),
        (["a.jpg", "a.png"], ["a.bmp"]),
        (["a.jpg"], ["a.png", "a.bmp"]),
        (["a.jpg"], ["a.jpg", "a.png"]),
        (["a.jpg", "a.png"], ["a.jpg", "a.bmp"]),
        (["s/a.jpg", "t/a.jpg"], ["a.png"]),
        (["a.jpg"], ["s/a.png", "t/a.png"]),
        (["a.jpg", "a.png"], ["a_mask.png"]),
        (["s/a.jpg", "t/a.jpg"], ["a_mask.png"]),
    ],
)
def test_what_could_be_meant_twice_is_ambiguous_and_says_so(photos, masks):
    found = pair([*photos, "other.jpg"], [*masks, "other.png"])
    assert found.masks == {"other.jpg": "other.png"}
    assert found.ambiguous.keys() == set(photos)
    assert not found.without_mask
    assert not found.unused
    for sentence in found.ambiguous.values():
        assert all(name in sentence for name in (*photos, *masks))


def test_what_has_no_partner_is_named():
    found = pair(["x/a.jpg", "b.jpg"], ["y/a.png", "c.png"])
    assert (found.masks, found.without_mask, found.unused) == ({}, ["x/a.jpg", "b.jpg"], ["y/a.png", "c.png"])


def test_another_pattern_and_a_folder_of_both():
    photos, masks = ["a.jpg", "s/b.jpg"], ["masks/a.jpg.gif", "s/masks/b.jpg.gif"]
    assert pair(photos, masks, "masks/{name}.gif").masks == dict(zip(photos, masks, strict=True))
    assert pair(["a.png"], ["a_mask.png"], only_pattern=True).masks == {"a.png": "a_mask.png"}
    assert matches("s/b_mask.png", "{stem}_mask.png")
    assert not matches("s/b.png", "{stem}_mask.png")
    assert not matches("s/xmask.png", "{stem}.mask.png")


def test_accents_may_be_written_in_two_ways():
    one, two = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    assert one != two
    assert pair([one], [two]).masks == {one: two}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{stm}_mask.png", "unknown field {stm} .* known are {stem}, {name}, {suffix}"),
        ("{stem[0]}.png", "unknown field"),
        ("{stem:>9}.png", "unknown field"),
        ("{}_mask.png", "unknown field {}"),
        ("{stem_mask.png", "cannot be read"),
        ("mask.png", "the same mask for every photo"),
        ("mask{suffix}", "the same mask for every photo"),
    ],
)
def test_a_pattern_that_cannot_be_one(pattern, message):
    with pytest.raises(InputError, match=message):
        check_pattern(pattern)


names = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "s/", "t/", "s/u/"]),
    st.sampled_from(["a", "b", "a_mask"]),
    st.sampled_from([".jpg", ".png"]),
)


@given(st.sets(names), st.sets(names))
def test_every_name_is_in_one_place_and_no_mask_is_used_twice(photos, masks):
    found = pair(sorted(photos), sorted(masks))
    assert sorted([*found.masks, *found.ambiguous, *found.without_mask]) == sorted(photos)
    assert len(set(found.masks.values())) == len(found.masks)
    assert sorted([*found.masks.values(), *found.disputed, *found.unused]) == sorted(masks)


def test_photos_that_would_be_written_to_one_file():
    refused = same_outputs({"a.jpg": "a.png", "a.png": "a.png", "b.jpg": "b.png"})
    assert refused.keys() == {"a.jpg", "a.png"}
    assert refused["a.jpg"] == "a.jpg and a.png would all be written to a.png; rename them"
