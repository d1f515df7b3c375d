"""``pconv inpaint``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pconv.cli.common import (
    PlaceType,
    computes_with,
    fill_options,
    need_file,
    need_place_for,
    reachable,
    wrong_usage,
)
from pconv.errors import InputError, ModelError
from pconv.inpainting.options import InpaintOptions


@click.command()
@click.argument("photo", type=PlaceType)
@click.argument("mask", type=PlaceType, required=False)
@click.option("-o", "--output", "out", type=PlaceType, required=True, help="Where to write; the suffix decides.")
@fill_options
@click.option("--force", is_flag=True, help="Allow OUT to replace PHOTO or MASK.")
def inpaint(
    photo: Path | str,
    mask: Path | str | None,
    out: Path | str,
    holes: tuple[str, ...],
    quality: int | None,
    options: InpaintOptions,
    network: dict[str, Any],
    verbose: bool,
    force: bool,
) -> None:
    """Fill the white part of MASK in PHOTO. For folders of photos there is `pconv batch`.

    MASK has PHOTO's size; the line between white and black is at 50 % grey. OUT has PHOTO's mode, depth and metadata;
    everything outside the hole stays as it is, pixel for pixel, in lossless formats (.png, .webp, .tif, .bmp, .gif).
    """
    photo, out = _file(photo), _file(out, may_be_folder=True)
    mask = None if mask is None else _file(mask)
    need_file(photo, "the photo")
    if mask is not None:
        need_file(mask, "the mask")
    elif not holes:
        raise click.UsageError("nothing says where the hole is; give a MASK, or --hole alpha, color:..., rect:...")
    elif options.invert:
        raise click.UsageError("--invert is about MASK, and there is none")
    need_place_for(out, *[path for path in (photo, mask) if path is not None], force=force)

    from pconv.images.codecs import codec_for
    from pconv.images.reading import read_photo
    from pconv.images.writing import check_storable, write_photo
    from pconv.masks.reader import MaskFile
    from pconv.masks.sources import HoleSource, hole_of, parse_hole, with_opaque_fills

    with wrong_usage(InputError):
        codec_for(out.suffix)
        sources: list[HoleSource] = [parse_hole(text) for text in holes]
    if mask is not None:
        sources.append(MaskFile(mask, labels=options.label))
    picture = read_photo(photo)
    with wrong_usage(InputError):
        notes = [*picture.notes, *check_storable(picture, out.suffix, quality)]
    hole = hole_of(picture, sources, options.invert, options.grow, notes)

    from pconv.inpainting.holes import check_known
    from pconv.inpainting.inpainter import Inpainter
    from pconv.models import GRAPH, find_model

    check_known(hole)
    if hole.any():
        with wrong_usage(ModelError):
            find_model(network["model"], GRAPH)  # the form that is mostly opened: each is hashed when it is looked for
        with wrong_usage(InputError):
            inpainter = Inpainter(**network)
        if verbose:
            click.echo(computes_with(inpainter.backend), err=True)
        notes += inpainter.notes(options)
        picture = inpainter.fill_photo(with_opaque_fills(picture, sources), hole, options)
    else:
        what = "the mask marks" if mask is not None and not holes else "the holes come to"
        hint = " (--invert fills the black part)" if mask is not None and not options.invert else ""
        notes.append(f"{what} nothing to fill{hint}; {out} is the photo as it was")
    write_photo(picture, out, quality)
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _file(place: Path | str, may_be_folder: bool = False) -> Path:
    """``place``, if it is a path and no folder."""
    if isinstance(place, str):
        raise click.UsageError(f"{place} is a URL, and those need `pconv batch PHOTOS MASKS -o OUT`")
    with reachable(place):
        if place.is_dir() and not may_be_folder:
            raise click.UsageError(f"{place} is a folder; fill folders with `pconv batch PHOTOS MASKS -o OUT`")
    return place
