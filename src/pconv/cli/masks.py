"""``pconv masks``: masks from strokes, from other masks and from video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pconv.cli.common import PathType, make_folder, needs_extra, progress, writing_to, wrong_usage
from pconv.errors import InputError

MAX_PIXELS = 100_000_000
MAX_PREVIEWS = 24
POLARITIES = ["auto", "white-hole", "white-valid"]


@click.group()
def masks() -> None:
    """Make masks: PNG files, white = hole."""


def ratio_option(default: str = "0.1-0.3") -> Callable[[Any], Any]:
    def parse(ctx: click.Context, option: click.Parameter, value: str) -> tuple[float, float]:
        low, dash, high = value.partition("-")
        try:
            return float(low), float(high if dash else low) + (0 if dash else 0.001)
        except ValueError:
            raise click.BadParameter(f"{value!r} is no range of hole ratios; write it like 0.2-0.3") from None

    return click.option(
        "--ratio", default=default, show_default=True, callback=parse, help="Lowest-highest hole ratio."
    )


def size_option(default: str | None = "512", help: str = "Side, or WIDTHxHEIGHT, px.") -> Callable[[Any], Any]:
    def parse(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
        if value is None:
            return None
        width, cross, height = value.lower().partition("x")
        try:
            size = int(width), int(height if cross else width)
        except ValueError:
            size = 0, 0
        if min(size) < 1:
            raise click.BadParameter(f"{value!r} is no size; write 512 or 640x480 (width x height)")
        if size[0] * size[1] > MAX_PIXELS:
            raise click.BadParameter(f"{value!r} is more than {MAX_PIXELS // 10**6} megapixels")
        return size

    return click.option("--size", default=default, show_default=default is not None, callback=parse, help=help)


number_option = click.option(
    "-n", "--number", type=click.IntRange(min=1), default=10, show_default=True, help="How many."
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed gives the same masks."
)
polarity_option = click.option(
    "--polarity", type=click.Choice(POLARITIES), default="auto", show_default=True, help="Of mask files."
)
out_option = click.option("-o", "--output", "out", type=PathType, required=True, help="Folder; made if it is missing.")


@masks.command()
@number_option
@size_option()
@ratio_option()
@click.option("--border", type=click.IntRange(min=0), default=0, show_default=True, help="Pixels kept free at edges.")
@seed_option
@out_option
def strokes(number: int, size: tuple[int, int], ratio: tuple[float, float], border: int, seed: int, out: Path) -> None:
    """Irregular holes of strokes, ellipses and polygons with a wanted hole ratio."""
    import numpy as np

    from pconv.masks.strokes import irregular_hole

    width, height = size
    make_folder(out)
    with progress(range(number), number) as numbers:
        for i in numbers:
            with wrong_usage(InputError):
                hole = irregular_hole(height, width, ratio, border=border, generator=np.random.default_rng([seed, i]))
            write_mask(hole, out / f"hole-{i:05d}.png")
    click.echo(f"{number} masks of {width}x{height} px in {out}")


@masks.command()
@click.argument("folder", type=PathType)
@out_option
@number_option
@size_option()
@ratio_option("0.01-0.6")
@polarity_option
@seed_option
def augment(
    folder: Path,
    out: Path,
    number: int,
    size: tuple[int, int],
    ratio: tuple[float, float],
    polarity: str,
    seed: int,
) -> None:
    """More masks from those in FOLDER: turned, shifted, cropped and dilated by 9 to 49 px at random, as the paper does
    for training.
    """
    import numpy as np

    from pconv.masks.augment import MaskFolder
    from pconv.masks.reader import find_masks, resolve_polarity

    width, height = size
    if out.exists() and folder.exists() and out.samefile(folder):
        raise click.UsageError(f"{out} is the folder of the masks themselves; write to another one")
    with wrong_usage(InputError):
        paths = find_masks(folder)
    white_is_hole, note = resolve_polarity(paths, polarity)
    click.echo(note, err=True)
    make_folder(out)
    holes = MaskFolder(paths, white_is_hole)
    with needs_extra("train"), progress(range(number), number) as numbers:
        for i in numbers:
            hole = holes.draw(height, width, ratio, generator=np.random.default_rng([seed, i]))
            write_mask(hole, out / f"hole-{i:05d}.png")
    click.echo(f"{number} masks of {width}x{height} px in {out}")


@masks.command()
@click.argument("source", metavar="VIDEO_OR_FRAMES", type=PathType)
@out_option
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="Take each N-th frame.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this number of masks.")
@ratio_option("0.01-0.6")
def flow(source: Path, out: Path, every: int, limit: int | None, ratio: tuple[float, float]) -> None:
    """Occlusion masks from a video or a folder of its frames: holes are the pixels of a frame that the next one
    hides, by forward-backward consistency of optical flow. preview.png shows some.
    """
    import numpy as np

    from pconv.files import replacing
    from pconv.masks.flow import frame_pairs, occlusion_hole, preview, read_frames
    from pconv.report.sheet import in_rows

    low, high = ratio
    seen: list[float] = []
    written = 0
    shown: list[Any] = []
    with needs_extra("train"):
        pairs = frame_pairs(read_frames(source, every))
        for before, after in pairs:
            hole = occlusion_hole(before, after)
            seen.append(np.count_nonzero(hole) / hole.size)
            if not low <= seen[-1] <= high:
                continue
            make_folder(out)
            write_mask(hole, out / f"flow-{written:05d}.png")
            if len(shown) < MAX_PREVIEWS:
                shown.append(preview(before, hole))
            written += 1
            if written == limit:
                break
    if not written:
        raise click.ClickException(
            f"no hole ratio in {low:g}-{high:g} among {len(seen)} pairs of frames, but {min(seen):.4f} to "
            f"{max(seen):.4f}: take frames further apart (--every), or widen --ratio"
        )
    with writing_to(out), replacing(out / "preview.png") as temporary:
        in_rows([shown[start : start + 4] for start in range(0, len(shown), 4)]).save(temporary)
    click.echo(f"{written} masks in {out}, {len(seen) - written} left out for their hole ratio; see preview.png")


def write_mask(hole: Any, path: Path) -> None:
    """Write a mask as a 1-bit PNG, white = hole."""
    from PIL import Image

    from pconv.files import replacing

    with writing_to(path.parent), replacing(path) as temporary:
        Image.fromarray(hole).save(temporary)
