"""Before, mask and after beside each other, because people look: as a page to click through, or as one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pconv.errors import ImageFileError, InputError
from pconv.files import replacing
from pconv.images.codecs import codec_named
from pconv.images.photo import Photo
from pconv.images.reading import read_photo
from pconv.masks.reader import MaskFile
from pconv.report.pages import data_url
from pconv.report.pages import write_page as page
from pconv.report.sheet import in_rows, titled

_MARK = (255, 0, 200)
"""The colour of the hole: one that photos seldom have."""

_STRIP = 2**22
"""Pixels that are looked at in full size at a time."""

_LEAST, _MOST = 3, 12
"""How far, of 255, a lossy format takes a known pixel from what it was: few are farther off than six times the median,
within these limits."""

_DETAIL = 1.5
"""The hole gets a picture of its own where it would show at least so much larger."""


class Names(NamedTuple):
    """A photo before and after, its mask if it is a file, and what to call them."""

    title: str
    before: Path
    after: Path
    mask: Path | None = None


class Panel(NamedTuple):
    """The same part of photo, hole and result, in one size."""

    label: str
    before: Image.Image
    hole: NDArray[np.bool_]
    after: Image.Image


class View(NamedTuple):
    """What is shown of one photo."""

    title: str
    note: str
    panels: list[Panel]


def make_view(names: Names, side: int) -> View:
    """Read the files and shrink them to ``side`` px at most.

    Raises:
        ImageFileError: one cannot be read.
        InputError: before and after have different sizes.
    """
    before, after = read_photo(names.before), read_photo(names.after)
    if (before.height, before.width) != (after.height, after.width):
        raise InputError(
            f"{names.before} is {before.width}x{before.height} and {names.after} {after.width}x{after.height} pixels: "
            f"they are not one photo before and after"
        )
    if names.mask is None:
        hole, source = _difference(before, after, _is_lossy(after)), "hole found by difference"
    else:
        hole, source = MaskFile(names.mask, "nearest").hole(before), f"mask {names.mask.name}"
    everything = slice(0, before.height), slice(0, before.width)
    panels = [_panel("whole", before, after, hole, everything, side)]
    if hole.any() and (window := _window(hole, side)) is not None:
        panels.append(_panel("the hole, closer", before, after, hole, window, side))
    note = f"{before.width} x {before.height} px, {np.count_nonzero(hole) / hole.size:.2%} hole ({source})"
    return View(names.title, note, panels)


def write_picture(views: Iterable[View], path: Path) -> None:
    """A row for each photo: before, mask, after; and a second row where the hole is shown closer."""
    rows = []
    for view in views:
        for panel in view.panels:
            title = view.title if panel.label == "whole" else panel.label
            mask = Image.fromarray(panel.hole).convert("RGB")
            rows.append([titled(panel.before, title), titled(mask, "mask"), titled(panel.after, "after")])
    with replacing(path) as temporary:
        in_rows(rows).save(temporary)


def write_page(
    views: Iterable[View],
    path: Path,
    title: str,
    notes: Sequence[str] = (),
    failures: Sequence[str] = (),
    unread: Sequence[str] = (),
) -> None:
    """One file that needs no other and no network: a wipe, before, mask and after of each image.

    Args:
        views: what is shown; they may be made while the page is written.
        path: of the page.
        title: of the page.
        notes: sentences above the images.
        failures: what has no result, and why.
        unread: what could not be shown, and why; known when all views are made.
    """
    cases = (
        {
            "title": view.title,
            "note": view.note,
            "panels": [
                {
                    "label": panel.label,
                    "width": panel.before.width,
                    "height": panel.before.height,
                    "before": data_url(panel.before, "JPEG", quality=88, subsampling=0),
                    "after": data_url(panel.after, "JPEG", quality=88, subsampling=0),
                    "mask": _overlay(panel.hole),
                }
                for panel in view.panels
            ],
        }
        for view in views
    )
    page("comparison.html.jinja", path, title=title, notes=notes, failures=failures, unread=unread, cases=cases)


def _overlay(hole: NDArray[np.bool_]) -> str:
    """The hole in one colour, transparent elsewhere."""
    picture = Image.fromarray(hole.astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, *_MARK])
    return data_url(picture, "PNG", transparency=0, bits=1, optimize=True)


def _panel(
    label: str, before: Photo, after: Photo, hole: NDArray[np.bool_], window: tuple[slice, slice], side: int
) -> Panel:
    small = _shrunk(before, window, side)
    # a thin line stays to be seen: what has any hole in it is hole
    mask = Image.fromarray(hole[window]).convert("L").resize(small.size, Image.Resampling.BOX)
    return Panel(label, small, np.asarray(mask) > 0, _shrunk(after, window, side))


def _shrunk(photo: Photo, window: tuple[slice, slice], side: int) -> Image.Image:
    """A part of a photo as RGB with sRGB's tones, ``side`` px at most; a large one is averaged strip by strip."""
    rows, columns = window
    height, width = rows.stop - rows.start, columns.stop - columns.start
    step = max(max(height, width) // (2 * side), 1)
    count = max(_STRIP // (width * step), 1) * step
    strips = []
    for top in range(rows.start, rows.stop, count):
        colours = photo.read(slice(top, min(top + count, rows.stop)), columns)
        strips.append(_averaged(colours, step))
    pixels = (np.concatenate(strips, axis=1).clip(0, 1) * 255).round().astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    scale = min(side / max(height, width), 1)
    return picture.resize((max(round(width * scale), 1), max(round(height * scale), 1)), Image.Resampling.LANCZOS)


def _averaged(colours: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    if step == 1:
        return colours
    _, height, width = colours.shape
    padded = np.pad(colours, [(0, 0), (0, -height % step), (0, -width % step)], mode="edge")
    means: NDArray[np.float32] = padded.reshape(3, padded.shape[1] // step, step, -1, step).mean(axis=(2, 4))
    return means


def _window(hole: NDArray[np.bool_], side: int) -> tuple[slice, slice] | None:
    """The part of the photo around the hole, if it would show much larger than in the whole photo."""
    rows, columns = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
    spans = []
    for found, length in ((rows, hole.shape[0]), (columns, hole.shape[1])):
        margin = (int(found[-1]) - int(found[0])) // 4 + 32
        spans.append(slice(max(int(found[0]) - margin, 0), min(int(found[-1]) + 1 + margin, length)))
    longest, closer = max(hole.shape), max(span.stop - span.start for span in spans)
    if min(side / closer, 1) < _DETAIL * min(side / longest, 1):
        return None
    return spans[0], spans[1]


def _difference(before: Photo, after: Photo, lossy: bool) -> NDArray[np.bool_]:
    """Where two photos differ; if ``lossy``, by more than what the format does to known pixels."""
    changes = np.zeros((before.height, before.width), np.float32)
    count = max(_STRIP // before.width, 1)
    for top in range(0, before.height, count):
        rows = slice(top, min(top + count, before.height))
        old, new = (photo.read(rows, slice(0, before.width)) for photo in (before, after))
        changes[rows] = np.abs(old - new).max(axis=0) * 255
    if not lossy:
        return changes > 1 / 256
    limit = float(np.clip(6 * np.median(changes), _LEAST, _MOST))
    hole = Image.fromarray(changes > limit).convert("L")
    clean = hole.filter(ImageFilter.MedianFilter(3))  # single pixels are noise
    return np.asarray(clean.filter(ImageFilter.MaxFilter(7)).filter(ImageFilter.MinFilter(7))) > 0


def _is_lossy(photo: Photo) -> bool:
    codec = codec_named(photo.metadata.format)
    return codec is None or codec.lossy != "never"


def readable(names: Names, side: int) -> View | str:
    """The view, or the sentence why there is none."""
    try:
        return make_view(names, side)
    except (ImageFileError, InputError) as error:
        return f"{names.title}: {error}"
