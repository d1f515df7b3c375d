"""``pconv train`` and ``pconv shards``."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from pconv.cli.common import PathType, make_folder, needs_extra, progress, writing_to, wrong_usage
from pconv.errors import InputError
from pconv.signals import drop_closed_outputs


@click.command()
@click.argument("config", type=PathType)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=PathType, required=True, help="Folder for the model, its state, sheets and scalars.")
@click.option("--resume", is_flag=True, help="Go on where the run in OUT stopped.")
@click.option("--vgg", type=PathType, help="VGG-16 weights (.pth or .safetensors) instead of the download.")
def train(config: Path, overrides: tuple[str, ...], out: Path, resume: bool, vgg: Path | None) -> None:
    """Train a network as CONFIG says, a TOML file or one of the presets: debug, default, finetune, superres,
    ablation, paper. KEY=VALUE overrides a setting, as in photos=FOLDER or stages.0.lr=1e-4.

    Ctrl-C, SIGTERM and SIGHUP save and stop, with exit code 130, 143 and 129. Watch with: tensorboard --logdir OUT.
    On many GPUs: torchrun --nproc-per-node 4 -m pconv train ...
    """
    try:
        with needs_extra("train"):
            from pconv.training.config import read_config
            from pconv.training.loop import train as run

        with wrong_usage(InputError):
            settings = read_config(config, [*overrides, *([f"vgg={vgg}"] if vgg else [])])
        model, steps, stopped_by = run(settings, out, resume)
    except KeyboardInterrupt:  # before the first step
        raise SystemExit(128 + signal.SIGINT) from None
    if stopped_by:
        drop_closed_outputs()
    if os.environ.get("RANK", "0") == "0":
        how = f", stopped by {signal.Signals(stopped_by).name}; go on with --resume" if stopped_by else ""
        click.echo(f"{model} after {steps} of {settings.steps} steps{how}")
    if stopped_by:
        raise SystemExit(128 + stopped_by)


@click.command()
@click.argument("photos", type=PathType)
@click.option("-o", "--output", "out", type=PathType, required=True, help="Folder for the shards.")
@click.option("--shard-mb", type=click.FloatRange(min=0, min_open=True), default=64, show_default=True, help="Size.")
@click.option("--short-side", type=click.IntRange(min=1), help="Shrink larger photos to this, px, as JPEG.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the photos' order.")
def shards(photos: Path, out: Path, shard_mb: float, short_side: int | None, seed: int) -> None:
    """Pack a folder of photos, in a random order, into WebDataset shards to train from (shards=OUT)."""
    with needs_extra("train"):
        from pconv.images.reading import find_photos
        from pconv.training.shards import write_shards

    with wrong_usage(InputError):
        paths = find_photos(photos, note=lambda sentence: click.echo(sentence, err=True))
    make_folder(out)
    if any(out.glob("shard-*.tar")):
        raise click.UsageError(f"{out} holds shards already; name another folder, or remove them first")
    left_out = 0
    with writing_to(out), progress(write_shards(paths, out, shard_mb, short_side, seed), len(paths)) as written:
        for _path, reason in written:
            if reason:
                left_out += 1
                click.echo(f"left out: {reason}", err=True)
    made = len(list(out.glob("shard-*.tar")))
    if not made:
        raise click.ClickException(f"none of the {len(paths)} files below {photos} can be read as an image")
    click.echo(f"{len(paths) - left_out} photos in {made} shards in {out}; {left_out} could not be read")
