"""``pconv export``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from pconv.cli.common import PathType, need_place_for, needs_extra, writing_to, wrong_usage
from pconv.errors import InputError, ModelError


@click.command()
@click.argument("model")
@click.option("-o", "--output", "out", type=PathType, required=True, help="The ONNX file to write.")
@click.option(
    "--image", type=click.Choice(["float", "uint8"]), default="float", show_default=True, help="What the graph takes."
)
@click.option("--fp16-weights", is_flag=True, help="Store weights in half precision: half the file.")
@click.option(
    "--external-data",
    is_flag=True,
    help="Refer to the convolution weights in MODEL, in the same folder and precision (ONNX external data).",
)
@click.option("--opset", type=click.IntRange(min=13), default=17, show_default=True, help="Of ONNX.")
@click.option("--force", is_flag=True, help="Allow OUT to replace MODEL.")
def export(
    model: str,
    out: Path,
    image: Literal["float", "uint8"],
    fp16_weights: bool,
    external_data: bool,
    opset: int,
    force: bool,
) -> None:
    """Write MODEL, a checkpoint or a bundled model's name, as an ONNX graph that does the whole job of filling.

    Inputs: image (batch, 3, height, width), float32 in 0..1 or uint8; hole (batch, 1, height, width), uint8, non-zero
    = fill; depending on the network also estimate, seed and origin (docs/guides/onnx.md). Outputs, like image:
    filled; and predicted, the network's prediction of known pixels too.
    """
    from pconv.models import GRAPH, find_model

    with wrong_usage(ModelError):
        path = find_model(model)
    if out.suffix.lower() != GRAPH:
        raise click.UsageError(f"{out} would be an ONNX file: give it the suffix {GRAPH}")
    need_place_for(out, path, force=force)
    with needs_extra("train"):
        from pconv.nn.checkpoint import load_network
        from pconv.nn.onnx_export import save_onnx
    network, recipe = load_network(path)
    with wrong_usage(InputError), writing_to(out):
        weights = path if external_data else None
        save_onnx(network, out, recipe, image=image, fp16_weights=fp16_weights, opset=opset, weights=weights)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB, opset {opset}, image {image}")
