"""``pconv inpaint``."""

from __future__ import annotations

from pathlib import Path

import click

from pconv.cli.common import PlaceType, need_file, need_place_for, wrong_usage
from pconv.cli.folder import or_folder
from pconv.errors import InputError, ModelError


@click.command()
@click.argument("photo", type=PlaceType)
@click.argument("mask", type=PlaceType, required=False)
@click.option("-o", "--output", "out", type=PlaceType, required=True, help="Where to write; the suffix decides.")
@click.option("--invert", is_flag=True, help="Fill what is black in MASK instead of what is white.")
@click.option("--model", default="default", show_default=True, help="A bundled model, or a checkpoint's path.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@click.option(
    "--backend", default="auto", show_default=True, help="onnxruntime, torch, openvino; auto takes the fastest."
)
@click.option("--precision", default="auto", show_default=True, help="fp32, bf16; auto: what the device is fast in.")
@click.option("--force", is_flag=True, help="Allow OUT to replace PHOTO or MASK.")
@click.option("-v", "--verbose", is_flag=True, help="Say what computes.")
@or_folder
def inpaint(
    photo: Path,
    mask: Path,
    out: Path,
    invert: bool,
    model: str,
    device: str,
    backend: str,
    precision: str,
    force: bool,
    verbose: bool,
) -> None:
    """Fill the white part of MASK in PHOTO, or of a folder of masks in a folder of photos.

    MASK has PHOTO's size; the line between white and black is at 50 % grey. Everything outside the hole stays as it
    is, pixel for pixel, in lossless formats (.png, .webp, .tif, .bmp).
    """
    need_file(photo, "the photo")
    need_file(mask, "the mask")
    need_place_for(out, photo, mask, force=force)

    from pconv.filling.images import is_lossy, read_hole, read_image, storable_mode, write_image

    with wrong_usage(InputError):
        lossy = is_lossy(out)
    image = read_image(photo)
    with wrong_usage(InputError):
        storable_mode(image, out)
    hole = read_hole(mask, invert)

    from pconv.filling.predictor import Inpainter, as_hole
    from pconv.models import find_model

    hole = as_hole(hole, (image.height, image.width))
    if hole.any():
        with wrong_usage(ModelError):
            find_model(model)
        with wrong_usage(InputError):
            fill = Inpainter(model, device, backend, precision)
        if verbose:
            computes = fill.backend
            click.echo(f"{computes.path} with {computes.name} on {computes.device} in {computes.precision}", err=True)
        image = fill(image, hole)
    else:
        hint = "" if invert else " (--invert fills the black part)"
        click.echo(f"note: the mask marks nothing to fill{hint}; {out} is the photo as it was", err=True)
    write_image(image, out)
    if lossy:
        click.echo(f"note: {out.suffix} is lossy, so known pixels change a little too; .png keeps them", err=True)
