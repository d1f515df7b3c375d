"""``pconv upscale``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pconv.cli.common import (
    PathType,
    computes_with,
    need_file,
    need_place_for,
    network_options,
    quality_option,
    verbose_option,
    wrong_usage,
)
from pconv.errors import InputError, ModelError


@click.command()
@click.argument("photo", type=PathType)
@click.option("-o", "--output", "out", type=PathType, required=True, help="Where to write; the suffix decides.")
@click.option("--factor", type=click.IntRange(2, 4), metavar="2|3|4", required=True, help="How much larger: 2, 3, 4.")
@quality_option
@click.option("--model", default="superres", show_default=True, help="superres, or a model's path or URL#sha256=HASH.")
@network_options("model")
@verbose_option
@click.option("--force", is_flag=True, help="Allow OUT to replace PHOTO.")
def upscale(
    photo: Path,
    out: Path,
    factor: int,
    quality: int | None,
    model: str,
    network: dict[str, Any],
    verbose: bool,
    force: bool,
) -> None:
    """Enlarge PHOTO by a factor of 2, 3 or 4.

    PHOTO's pixels are spread over the large photo, with holes between them, and the network predicts all of it. OUT
    has PHOTO's depth and metadata. Palettes and 1-bit images become RGB or grey.
    """
    need_file(photo, "the photo")
    need_place_for(out, photo, force=force)

    from pconv.images.codecs import codec_for
    from pconv.images.reading import read_photo
    from pconv.images.writing import check_storable, write_photo
    from pconv.inpainting.inpainter import Inpainter
    from pconv.inpainting.upscaling import prepared
    from pconv.models import GRAPH, find_model

    with wrong_usage(InputError):
        codec_for(out.suffix)
    picture = read_photo(photo)
    with wrong_usage(InputError):
        small, large = prepared(picture, factor)
        notes = [*large.notes, *check_storable(large, out.suffix, quality, all_new=True)]
    with wrong_usage(ModelError):
        find_model(model, GRAPH)  # the form that is mostly opened: each is hashed when it is looked for
    with wrong_usage(InputError):
        inpainter = Inpainter(model, **network)
    if verbose:
        click.echo(computes_with(inpainter.backend), err=True)
    notes += inpainter.upscale_notes()
    inpainter.upscale_into(small, large)
    write_photo(large, out, quality)
    for note in notes:
        click.echo(f"note: {note}", err=True)
