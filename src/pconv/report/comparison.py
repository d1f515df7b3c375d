"""Photos before and after, with their masks, side by side: as an HTML page or as one image."""

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

_HOLE_COLOUR = (255, 0, 200)
"""One that photos seldom have."""

_STRIP = 2**22
"""Pixels that are read in full size at a time."""

_MIN_CHANGE, _MAX_CHANGE = 3, 12
"""Limits, of 255, of the largest change that counts as a lossy format's. Between them it is six times the median."""

_ENLARGED_BY = 1.5
"""The hole gets a panel of its own if that shows it at least this much larger."""


class PhotoFiles(NamedTuple):
    """A photo before and after, its mask if that is a file, and a title."""

    title: str
    before: Path
    after: Path
    mask: Path | None = None


class Panel(NamedTuple):
    """The same part of the photo, the hole and the result, in one size."""

    label: str
    before: Image.Image
    hole: NDArray[np.bool_]
    after: Image.Image


class Comparison(NamedTuple):
    """What is shown of one photo."""

    title: str
    note: str
    panels: list[Panel]


def compare_photo(files: PhotoFiles, side: int) -> Comparison:
    """Read the files and shrink them to ``side`` px at most.

    Raises:
        ImageFileError: one cannot be read.
        InputError: before and after have different sizes.
    """
    before, after = read_photo(files.before), read_photo(files.after)
    if (before.height, before.width) != (after.height, after.width):
        raise InputError(
            f"{files.before} is {before.width}x{before.height} and {files.after} {after.width}x{after.height} pixels: "
            f"they are not one photo before and after"
        )
    if files.mask is None:
        hole, source = _difference(before, after, _is_lossy(after)), "hole found by difference"
    else:
        hole, source = MaskFile(files.mask, "nearest").hole(before), f"mask {files.mask.name}"
    everything = slice(0, before.height), slice(0, before.width)
    panels = [_panel("whole", before, after, hole, everything, side)]
    if hole.any() and (window := _window(hole, side)) is not None:
        panels.append(_panel("the hole, closer", before, after, hole, window, side))
    note = f"{before.width} x {before.height} px, {np.count_nonzero(hole) / hole.size:.2%} hole ({source})"
    return Comparison(files.title, note, panels)


def write_image(comparisons: Iterable[Comparison], path: Path) -> None:
    """A row for each photo: before, mask, after; and a second row where the hole is shown closer."""
    rows = []
    for each in comparisons:
        for panel in each.panels:
            title = each.title if panel.label == "whole" else panel.label
            mask = Image.fromarray(panel.hole).convert("RGB")
            rows.append([titled(panel.before, title), titled(mask, "mask"), titled(panel.after, "after")])
    with replacing(path) as temporary:
        in_rows(rows).save(temporary)


def write_page(
    comparisons: Iterable[Comparison],
    path: Path,
    title: str,
    notes: Sequence[str] = (),
    failures: Sequence[str] = (),
    unread: Sequence[str] = (),
) -> None:
    """One file that needs no other and no network: a wipe, before, mask and after of each image.

    Args:
        comparisons: what is shown; an iterator is read while the page is written.
        path: of the page.
        title: of the page.
        notes: sentences above the images.
        failures: what has no result, and why.
        unread: what could not be shown, and why; read after the comparisons.
    """
    cases = (
        {
            "title": each.title,
            "note": each.note,
            "panels": [
                {
                    "label": panel.label,
                    "width": panel.before.width,
                    "height": panel.before.height,
                    "before": data_url(panel.before, "JPEG", quality=88, subsampling=0),
                    "after": data_url(panel.after, "JPEG", quality=88, subsampling=0),
                    "mask": _overlay(panel.hole),
                }
                for panel in each.panels
            ],
        }
        for each in comparisons
    )
    page("comparison.html.jinja", path, title=title, notes=notes, failures=failures, unread=unread, cases=cases)


def _overlay(hole: NDArray[np.bool_]) -> str:
    """The hole in one colour, transparent elsewhere."""
    image = Image.fromarray(hole.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, *_HOLE_COLOUR])
    return data_url(image, "PNG", transparency=0, bits=1, optimize=True)


def _panel(
    label: str, before: Photo, after: Photo, hole: NDArray[np.bool_], window: tuple[slice, slice], side: int
) -> Panel:
    small = _shrunk(before, window, side)
    # a pixel of the small mask is hole if any of its pixels is, so that thin lines stay visible
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
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    scale = min(side / max(height, width), 1)
    return image.resize((max(round(width * scale), 1), max(round(height * scale), 1)), Image.Resampling.LANCZOS)


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
    if min(side / closer, 1) < _ENLARGED_BY * min(side / longest, 1):
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
    limit = float(np.clip(6 * np.median(changes), _MIN_CHANGE, _MAX_CHANGE))
    hole = Image.fromarray(changes > limit).convert("L")
    clean = hole.filter(ImageFilter.MedianFilter(3))  # single pixels are noise
    return np.asarray(clean.filter(ImageFilter.MaxFilter(7)).filter(ImageFilter.MinFilter(7))) > 0


def _is_lossy(photo: Photo) -> bool:
    codec = codec_named(photo.metadata.format)
    return codec is None or codec.lossy != "never"


def compare_or_explain(files: PhotoFiles, side: int) -> Comparison | str:
    """The comparison, or a sentence that says why there is none."""
    try:
        return compare_photo(files, side)
    except (ImageFileError, InputError) as error:
        return f"{files.title}: {error}"
