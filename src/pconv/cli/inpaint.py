"""``pconv inpaint``."""

from __future__ import annotations

from pathlib import Path

import click

from pconv.cli.common import (
    PlaceType,
    backend_option,
    model_option,
    need_file,
    need_place_for,
    parse_bytes,
    precision_option,
    wrong_usage,
)
from pconv.cli.folder import or_folder
from pconv.errors import InputError, ModelError
from pconv.models import SEEDS


@click.command()
@click.argument("photo", type=PlaceType)
@click.argument("mask", type=PlaceType, required=False)
@click.option("-o", "--output", "out", type=PlaceType, required=True, help="Where to write; the suffix decides.")
@click.option(
    "--hole",
    "holes",
    multiple=True,
    metavar="WHERE",
    help="Fill this too: alpha, color:#ff00ff[:TOLERANCE], rect:X,Y,WIDTH,HEIGHT. Repeatable; MASK may be absent.",
)
@click.option("--invert", is_flag=True, help="Fill what is black in MASK instead of what is white.")
@click.option(
    "--grow", type=click.IntRange(0, 1000), default=0, metavar="N", help="Make the hole N px larger on all sides."
)
@click.option(
    "--feather",
    type=click.IntRange(0, 1000),
    default=0,
    metavar="N",
    help="Blend the fill with what was there over N px inside the hole's edge.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, SEEDS - 1),
    default=0,
    metavar="N",
    help="Another number gives the same hole another texture.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    metavar="Q",
    help="1 to 100, of JPEG, WebP, AVIF, HEIC. Left out, a JPEG keeps the photo's own.",
)
@model_option
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@backend_option
@precision_option
@click.option(
    "--max-memory", default="1G", show_default=True, callback=parse_bytes, help="For filling, beside the photo."
)
@click.option("--force", is_flag=True, help="Allow OUT to replace PHOTO or MASK.")
@click.option("-v", "--verbose", is_flag=True, help="Say what computes.")
@or_folder
def inpaint(
    photo: Path,
    mask: Path | None,
    out: Path,
    holes: tuple[str, ...],
    invert: bool,
    grow: int,
    feather: int,
    seed: int,
    quality: int | None,
    model: str,
    device: str,
    backend: str,
    precision: str,
    max_memory: int,
    force: bool,
    verbose: bool,
) -> None:
    """Fill the white part of MASK in PHOTO, or of a folder of masks in a folder of photos.

    MASK has PHOTO's size; the line between white and black is at 50 % grey. OUT has PHOTO's mode, depth and metadata;
    everything outside the hole stays as it is, pixel for pixel, in lossless formats (.png, .webp, .tif, .bmp, .gif).
    """
    need_file(photo, "the photo")
    if mask is not None:
        need_file(mask, "the mask")
    elif not holes:
        raise click.UsageError("nothing says where the hole is; give a MASK, or --hole alpha, color:..., rect:...")
    elif invert:
        raise click.UsageError("--invert is about MASK, and there is none")
    need_place_for(out, *[path for path in (photo, mask) if path is not None], force=force)

    from pconv.images.files import check_storable, read_photo, write_photo
    from pconv.images.formats import format_for
    from pconv.masks.reader import HoleSource, MaskFile, hole_of, parse_hole, prepared

    with wrong_usage(InputError):
        format_for(out.suffix)
        sources: list[HoleSource] = [parse_hole(text) for text in holes]
    if mask is not None:
        sources.append(MaskFile(mask))
    picture = read_photo(photo)
    with wrong_usage(InputError):
        notes = [*picture.notes, *check_storable(picture, out.suffix, quality)]
    hole = hole_of(picture, sources, invert, grow, notes)

    from pconv.inpainting.inpainter import Inpainter, as_hole, usable_seed
    from pconv.models import GRAPH, find_model

    hole = as_hole(hole, (picture.height, picture.width))
    if hole.any():
        with wrong_usage(ModelError):
            find_model(model, GRAPH)  # the form that is mostly opened: each is hashed when it is looked for
        with wrong_usage(InputError):
            fill = Inpainter(model, device, backend, precision, max_memory)
        if verbose:
            computes = fill.backend
            click.echo(f"{computes.path} with {computes.name} on {computes.device} in {computes.precision}", err=True)
        picture = fill(prepared(picture, sources), hole, feather=feather, seed=usable_seed(fill, seed, notes.append))
    else:
        what = "the mask marks" if mask is not None and not holes else "the holes come to"
        hint = " (--invert fills the black part)" if mask is not None and not invert else ""
        notes.append(f"{what} nothing to fill{hint}; {out} is the photo as it was")
    write_photo(picture, out, quality)
    for note in notes:
        click.echo(f"note: {note}", err=True)
