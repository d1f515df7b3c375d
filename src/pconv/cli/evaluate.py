"""``pconv evaluate``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pconv.cli.common import PathType, make_folder, need_file, need_place_for, needs_extra, writing_to, wrong_usage
from pconv.cli.masks import polarity_option, size_option
from pconv.errors import InputError, ModelError, PconvError
from pconv.signals import stop_on_signal

ALL = "telea,ns,biharmonic,patchmatch,fsr,plain,mean"
QUICK = "telea,ns,mean"
QUICK_PER_CELL = 2
STOPPED = "stopped; the fills that are done are kept, and the same command does the others"


def split_methods(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """Names at commas. A command, ``cmd:...``, goes up to the option's end, since it may have commas itself."""
    found = []
    for value in values:
        names, command, rest = value.partition("cmd:")
        found += [name.strip() for name in names.split(",") if name.strip()]
        found += [command + rest] if command else []
    return found


def parse_caps(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    caps = {}
    for value in values:
        name, equals, number = value.rpartition("=")
        if not equals or not number.isdigit() or int(number) < 1:
            raise click.BadParameter(f"{value!r} caps nothing; write METHOD=PAIRS, such as fsr=5")
        caps[name] = int(number)
    return caps


@click.command()
@click.option("--photos", type=PathType, help="Folder of photos, read recursively.")
@click.option(
    "--quick", is_flag=True, help="A first look in two minutes: bundled photos, 2 pairs a cell, fast methods."
)
@click.option("--masks", type=PathType, help="Folder of mask files instead of the generated set.")
@polarity_option
@click.option(
    "--model",
    "models",
    multiple=True,
    help="default, none, or a path or URL; repeatable: others are compared to the first.",
)
@click.option(
    "--against",
    multiple=True,
    callback=split_methods,
    help=f"Some of {ALL} (the default), none, or 'cmd:tool {{image}} {{mask}} {{out}}'; repeatable.",
)
@click.option("--plain-model", type=PathType, help="Checkpoint of convolution=plain-... for the method plain.")
@click.option("--per-cell", type=click.IntRange(min=1), help="Pairs in each of the 12 cells.  [default: 20]")
@size_option(None, "Of generated masks, WIDTHxHEIGHT px.  [default: what fits all photos, 512 at most]")
@click.option("--vgg", type=PathType, help="VGG-16 weights (.pth or .safetensors) for VGG and Gram distance.")
@click.option("--lpips", type=PathType, help="All of VGG-16, torchvision's vgg16 .pth, for LPIPS.")
@click.option("--inception", type=PathType, help="NVIDIA's inception-2015-12-05.pt, for FID and Inception score.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes at a time.  [default: one for each core]")
@click.option(
    "--time-limit", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds for one fill."
)
@click.option(
    "--cap", "caps", multiple=True, callback=parse_caps, help="METHOD=PAIRS a cell, for slow ones; repeatable."
)
@click.option("--markdown", type=PathType, help="Write the tables here as well.")
@click.option("-o", "--output", "out", type=PathType, required=True, help="Folder of the report; made if missing.")
def evaluate(
    photos: Path | None,
    quick: bool,
    masks: Path | None,
    polarity: str,
    models: tuple[str, ...],
    against: list[str],
    plain_model: Path | None,
    per_cell: int | None,
    size: tuple[int, int] | None,
    vgg: Path | None,
    lpips: Path | None,
    inception: Path | None,
    jobs: int | None,
    time_limit: float,
    caps: dict[str, int],
    markdown: Path | None,
    out: Path,
) -> None:
    """How good are the fills, and against what? The paper's protocol: six bins of hole ratios, each without and with
    holes near the border; PSNR, SSIM and more, with intervals, beside other methods.

    OUT gets report.html, results.md, per_image.csv, summary.json and contact-sheet.png. Killed or stopped, the same
    command goes on where it was.
    """
    if (photos is None) != quick:
        raise click.UsageError("give a folder of photos with --photos, or --quick for the bundled ones")
    for file, what in ((vgg, "--vgg"), (lpips, "--lpips"), (inception, "--inception"), (plain_model, "--plain-model")):
        if file:
            need_file(file, f"the weights of {what}")
    if markdown:
        need_place_for(markdown, force=True)
    if masks and size:
        raise click.UsageError("--size is for generated masks; those of --masks have their own size")
    with needs_extra("evaluate"), stop_on_signal(STOPPED, interrupt=True):
        from pconv.evaluation import methods as known
        from pconv.evaluation.learned import LearnedWeights
        from pconv.evaluation.protocol import bundled_photos
        from pconv.evaluation.runner import WorkerSettings
        from pconv.evaluation.session import EvaluationConfig
        from pconv.evaluation.session import evaluate as run
        from pconv.images.reading import find_photos

        with wrong_usage(PconvError):
            paths = find_photos(photos or bundled_photos(), note=note)
            if masks and not masks.is_dir():
                raise InputError(f"no folder of masks at {masks}")
            names = against or (QUICK if quick else ALL).split(",")
            if not against and not plain_model and known.PLAIN in names and not known.ABLATION.is_dir():
                names.remove(known.PLAIN)
                note("plain convolutions are left out: --plain-model names a checkpoint of them")
            methods = known.our_methods([m for m in models or ("default",) if m != "none"])
            methods += known.find_methods([n for n in names if n != "none"], plain_model, time_limit)
            methods = known.capped(methods, caps)
            if not methods:
                raise InputError("nothing to evaluate: --model none needs a method in --against")
    make_folder(out)
    config = EvaluationConfig(
        photos=paths,
        photos_name=photos.name if photos else "bundled photos",
        methods=methods,
        out=out,
        settings=WorkerSettings(out, vgg=vgg, time_limit=time_limit, jobs=jobs or os.cpu_count() or 1),
        masks=masks,
        polarity=polarity,
        per_cell=per_cell or (QUICK_PER_CELL if quick else 20),
        size=(size[1], size[0]) if size else None,
        learned=LearnedWeights(lpips, inception),
        markdown=[markdown] if markdown else [],
        command=shlex.join(["pconv", *sys.argv[1:]]),
    )
    with (
        needs_extra("evaluate"),
        writing_to(out),
        wrong_usage(InputError, ModelError),
        stop_on_signal(STOPPED, interrupt=True),
    ):
        results = run(config, bar, note)
    show(results)
    click.echo(f"{out / 'report.html'}")


def note(text: str) -> None:
    click.echo(f"note: {text}", err=True)


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on the terminal; nothing elsewhere."""
    hidden = not sys.stderr.isatty()
    progress: Any = click.progressbar(length=total, label=what, show_pos=True, file=sys.stderr, hidden=hidden)
    with progress:
        yield lambda: progress.update(1)


def show(results: Any) -> None:
    """The tables on the terminal."""
    from pconv.evaluation.tables import mean_table, time_table, verdict_table, warnings

    tables = [mean_table(results, metric) for metric in results.metrics]
    tables += [verdict_table(results)] if len(results.methods) > 1 else []
    for table in [*tables, time_table(results)]:
        rows = [table.heads, *table.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        click.echo(table.title)
        for first, *others in rows:
            cells = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
            click.echo("  ".join(cells).rstrip())
        click.echo(f"{table.note}\n" if table.note else "")
    for line in warnings(results):
        click.echo(f"warning: {line}", err=True)
