"""The command ``pconv``: parses, calls, prints. Exit codes: 0 done, 1 the run failed, 2 wrong usage."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from pconv import __version__
from pconv.errors import InputError, ModelError, PconvError, TrainingError

_MOST_PIXELS = 100_000_000
PathType = click.Path(path_type=Path)
T = TypeVar("T")


class _Group(click.Group):
    """Turns what pconv raises on purpose into one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PconvError as error:
            raise click.ClickException(str(error)) from error


@contextmanager
def _wrong_usage(*kinds: type[PconvError]) -> Iterator[None]:
    """Errors that the command line itself is to blame for: exit code 2."""
    try:
        yield
    except kinds as error:
        raise click.UsageError(str(error)) from error


def _need_file(path: Path, what: str) -> None:
    with _reachable(path):
        if path.is_dir():
            raise click.UsageError(f"{what} {path} is a folder, not a file")
        if not path.exists():
            raise click.UsageError(f"{what} {path} does not exist")


def _need_place_for(out: Path, *inputs: Path, force: bool) -> None:
    """The folder of ``out`` must be there, and ``out`` none of the inputs."""
    with _reachable(out):
        if not out.absolute().parent.is_dir():
            raise click.UsageError(f"the folder {out.absolute().parent} does not exist; make it, or write elsewhere")
        if out.is_dir():
            raise click.UsageError(f"{out} is a folder; name the file to write")
        for path in inputs:
            if out.exists() and out.samefile(path) and not force:
                raise click.UsageError(f"{out} would overwrite the input {path}; add --force if that is meant")


@contextmanager
def _reachable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise click.UsageError(f"cannot get to {path}: {getattr(error, 'strerror', None) or error}") from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="pconv")
def main() -> None:
    """Fill holes in photos with partial convolutions (Liu et al., ECCV 2018)."""


@main.command()
@click.argument("photo", type=PathType)
@click.argument("mask", type=PathType)
@click.option("-o", "--output", "out", type=PathType, required=True, help="Where to write; the suffix decides.")
@click.option("--invert", is_flag=True, help="Fill what is black in MASK instead of what is white.")
@click.option("--model", default="default", show_default=True, help="A bundled model, or a checkpoint's path.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@click.option("--force", is_flag=True, help="Allow OUT to replace PHOTO or MASK.")
def inpaint(photo: Path, mask: Path, out: Path, invert: bool, model: str, device: str, force: bool) -> None:
    """Fill the white part of MASK in PHOTO.

    MASK has PHOTO's size; the line between white and black is at 50 % grey. Everything outside the hole stays as it
    is, pixel for pixel, in lossless formats (.png, .webp, .tif, .bmp).
    """
    _need_file(photo, "the photo")
    _need_file(mask, "the mask")
    _need_place_for(out, photo, mask, force=force)

    from pconv.filling.images import is_lossy, read_hole, read_image, storable_mode, write_image

    with _wrong_usage(InputError):
        lossy = is_lossy(out)
    image = read_image(photo)
    with _wrong_usage(InputError):
        storable_mode(image, out)
    hole = read_hole(mask, invert)

    from pconv.filling.predictor import Inpainter, as_hole
    from pconv.nn.checkpoint import find_model
    from pconv.nn.devices import resolve_device

    hole = as_hole(hole, (image.height, image.width))
    if hole.any():
        with _wrong_usage(ModelError):
            checkpoint = find_model(model)
        with _wrong_usage(InputError):
            device_found = resolve_device(device)
        image = Inpainter(checkpoint, device_found)(image, hole)
    else:
        hint = "" if invert else " (--invert fills the black part)"
        click.echo(f"note: the mask marks nothing to fill{hint}; {out} is the photo as it was", err=True)
    write_image(image, out)
    if lossy:
        click.echo(f"note: {out.suffix} is lossy, so known pixels change a little too; .png keeps them", err=True)


@main.command()
@click.argument("config", type=PathType)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=PathType, required=True, help="Folder for the model, its state, sheets and scalars.")
@click.option("--resume", is_flag=True, help="Go on where the run in OUT stopped.")
@click.option("--vgg", type=PathType, help="VGG-16 weights (.pth or .safetensors) instead of the download.")
def train(config: Path, overrides: tuple[str, ...], out: Path, resume: bool, vgg: Path | None) -> None:
    """Train a network as CONFIG says, a TOML file or one of the presets: debug, default, paper, paper-stage1,
    paper-stage2. KEY=VALUE overrides a setting, as in photos=FOLDER or stages.0.lr=1e-4.

    Ctrl-C saves and stops. Watch with: tensorboard --logdir OUT. On many GPUs: torchrun --nproc-per-node 4 -m pconv
    train ...
    """
    with _needs_extra("train"):
        from pconv.training.config import read_config
        from pconv.training.loop import train as run

    with _wrong_usage(InputError):
        settings = read_config(config, [*overrides, *([f"vgg={vgg}"] if vgg else [])])
    model, steps = run(settings, out, resume)
    if os.environ.get("RANK", "0") == "0":
        click.echo(f"{model} after {steps} of {settings.steps} steps")


@main.command()
@click.argument("photos", type=PathType)
@click.option("-o", "--output", "out", type=PathType, required=True, help="Folder for the shards.")
@click.option("--shard-mb", type=click.FloatRange(min=0, min_open=True), default=64, show_default=True, help="Size.")
@click.option("--short-side", type=click.IntRange(min=1), help="Shrink larger photos to this, px, as JPEG.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the photos' order.")
def shards(photos: Path, out: Path, shard_mb: float, short_side: int | None, seed: int) -> None:
    """Pack a folder of photos, in a random order, into WebDataset shards to train from (shards=OUT)."""
    with _needs_extra("train"):
        from pconv.training.data import find_photos
        from pconv.training.shards import write_shards

    with _wrong_usage(TrainingError):
        paths = find_photos(photos)
    _make_folder(out)
    if any(out.glob("shard-*.tar")):
        raise click.UsageError(f"{out} holds shards already; name another folder, or remove them first")
    left_out = 0
    with _writing_to(out), _progress(write_shards(paths, out, shard_mb, short_side, seed), len(paths)) as written:
        for path, reason in written:
            if reason:
                left_out += 1
                click.echo(f"left out {path}: {reason}", err=True)
    made = len(list(out.glob("shard-*.tar")))
    if not made:
        raise click.ClickException(f"none of the {len(paths)} files below {photos} can be read as an image")
    click.echo(f"{len(paths) - left_out} photos in {made} shards in {out}; {left_out} could not be read")


def _progress(items: Iterable[T], length: int) -> AbstractContextManager[Iterable[T]]:
    return click.progressbar(items, length=length, file=sys.stderr, hidden=not sys.stderr.isatty())


@contextmanager
def _needs_extra(extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(f"this needs {error.name}: pip install 'pconv[{extra}]'") from error


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot make the folder {out}: {error.strerror}") from error


@contextmanager
def _writing_to(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write to {out}: {error.strerror or error}") from error


@main.group()
def masks() -> None:
    """Make hole maps: PNG files, white = hole."""


def _ratio_option() -> Callable[[Any], Any]:
    def parse(ctx: click.Context, option: click.Parameter, value: str) -> tuple[float, float]:
        low, dash, high = value.partition("-")
        try:
            return float(low), float(high if dash else low) + (0 if dash else 0.001)
        except ValueError:
            raise click.BadParameter(f"{value!r} is no range of hole ratios; write it like 0.2-0.3") from None

    return click.option(
        "--ratio", default="0.1-0.3", show_default=True, callback=parse, help="Lowest-highest part that is hole."
    )


def _size_option() -> Callable[[Any], Any]:
    def parse(ctx: click.Context, option: click.Parameter, value: str) -> tuple[int, int]:
        width, cross, height = value.lower().partition("x")
        try:
            size = int(width), int(height if cross else width)
        except ValueError:
            size = 0, 0
        if min(size) < 1:
            raise click.BadParameter(f"{value!r} is no size; write 512 or 640x480 (width x height)")
        if size[0] * size[1] > _MOST_PIXELS:
            raise click.BadParameter(f"{value!r} is more than {_MOST_PIXELS // 10**6} megapixels")
        return size

    return click.option("--size", default="512", show_default=True, callback=parse, help="Side, or WIDTHxHEIGHT, px.")


@masks.command()
@click.option("-n", "--number", type=click.IntRange(min=1), default=10, show_default=True, help="How many.")
@_size_option()
@_ratio_option()
@click.option("--border", type=click.IntRange(min=0), default=0, show_default=True, help="Pixels kept free at edges.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same holes.")
@click.option("-o", "--output", "out", type=PathType, required=True, help="Folder; made if it is missing.")
def strokes(number: int, size: tuple[int, int], ratio: tuple[float, float], border: int, seed: int, out: Path) -> None:
    """Irregular holes of strokes, ellipses and polygons with a wanted hole ratio."""
    import numpy as np
    from PIL import Image

    from pconv.files import replacing
    from pconv.holes.strokes import irregular_hole

    width, height = size
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot make the folder {out}: {error.strerror}") from error
    hidden = not sys.stderr.isatty()
    with click.progressbar(range(number), label="holes", file=sys.stderr, hidden=hidden) as numbers:
        for i in numbers:
            with _wrong_usage(InputError):
                hole = irregular_hole(height, width, ratio, border=border, generator=np.random.default_rng([seed, i]))
            try:
                with replacing(out / f"hole-{i:05d}.png") as temporary:
                    Image.fromarray(hole).save(temporary)
            except OSError as error:
                raise click.ClickException(f"cannot write to {out}: {error.strerror or error}") from error
    click.echo(f"{number} hole maps of {width}x{height} px in {out}")
