"""``pconv batch``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from pconv.cli.common import (
    MAX_SHOWN,
    PlaceType,
    computes_with,
    fill_options,
    needs_extra,
    printable,
    reachable,
    writing_to,
    wrong_usage,
)
from pconv.errors import InputError, ModelError
from pconv.inpainting.options import InpaintOptions
from pconv.signals import stop_on_signal

if TYPE_CHECKING:
    from pconv.batch.job import Plan, Summary
    from pconv.batch.manifest import Entry

_STOPPING = "stopping: what is being filled is still written (once more to stop at once)"


def parse_shard(ctx: click.Context, option: click.Parameter, value: str) -> tuple[int, int]:
    number, slash, of = value.partition("/")
    shard = (int(number), int(of)) if slash and number.isdecimal() and of.isdecimal() else (0, 0)
    if not 1 <= shard[0] <= shard[1]:
        raise click.BadParameter(f"{value!r} is no part of the whole; write 1/8 to 8/8 for the eight parts of a run")
    return shard


def parse_format(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    return None if value in (None, "same") else "." + str(value).lower().removeprefix(".")


@click.command()
@click.argument("photos", type=PlaceType)
@click.argument("masks", type=PlaceType, required=False)
@click.option("-o", "--output", "out", type=PlaceType, required=True, help="The folder to write the results to.")
@click.option(
    "--mask-pattern",
    "pattern",
    default="{stem}_mask.png",
    show_default=True,
    help="Names of masks that are not named like their photo; {stem}, {name}, {suffix}.",
)
@click.option(
    "--fit",
    type=click.Choice(["exact", "nearest"]),
    default="exact",
    show_default=True,
    help="Refuse masks of another size than the photo, or resize them.",
)
@click.option(
    "--format",
    "suffix",
    callback=parse_format,
    default="same",
    show_default=True,
    help="Format of the results, such as png.",
)
@fill_options
@click.option("--workers", type=click.IntRange(min=1), help="Photos at a time; with ray, networks.")
@click.option("--shard", callback=parse_shard, default="1/1", metavar="I/N", help="Fill only part I of N.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="This process, or a Ray cluster (pconv[ray]).",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first photo that fails.")
@click.option("--force", is_flag=True, help="Allow results to replace photos and masks.")
def batch(
    photos: Path | str,
    masks: Path | str | None,
    out: Path | str,
    pattern: str,
    fit: Literal["exact", "nearest"],
    suffix: str | None,
    holes: tuple[str, ...],
    quality: int | None,
    options: InpaintOptions,
    network: dict[str, Any],
    verbose: bool,
    workers: int | None,
    shard: tuple[int, int],
    engine: str,
    fail_fast: bool,
    force: bool,
) -> None:
    """Fill the photos of the folder PHOTOS, each with its mask in MASKS, and write the results to the folder OUT.

    MASKS may also be one mask file for all photos. A folder may be a URL (s3://bucket/photos). The same command again
    continues a run that was stopped: photos that are done and unchanged are skipped.
    """
    _check_folders(photos, out)
    if masks is None and options.invert:
        raise click.UsageError("--invert is about MASKS, and there are none")
    if masks is None and not holes:
        raise click.UsageError("give MASKS, a folder of them or one mask file, or say with --hole what to fill")

    from pconv.batch.job import Job, make_plan, run
    from pconv.batch.storage import open_folder
    from pconv.batch.worker import BatchOptions
    from pconv.images.codecs import codec_for
    from pconv.inpainting.inpainter import Inpainter
    from pconv.masks.sources import parse_hole

    mask_folder, one_mask = _split_masks(masks)
    with wrong_usage(InputError, ModelError):
        if suffix is not None:
            codec_for(suffix)
        plan = make_plan(
            Job(
                photos=open_folder(photos),
                masks=None if mask_folder is None else open_folder(mask_folder),
                out=open_folder(out),
                one_mask=one_mask,
                pattern=pattern,
                options=BatchOptions(options, network, tuple(map(parse_hole, holes)), fit, quality, suffix),
                shard=shard,
                force=force,
            )
        )
        inpainter = Inpainter(**network) if plan.items and engine == "local" else None
    if inpainter and verbose:
        click.echo(computes_with(inpainter.backend), err=True)
    _print_plan(plan)
    run_on_ray: Any = None
    if engine == "ray":
        with needs_extra("ray"):
            from pconv.batch import ray

            run_on_ray = partial(ray.run_on_ray, networks=workers)
    with writing_to(out), stop_on_signal(_STOPPING) as stop, Progress(plan.total - plan.skipped) as progress:
        summary = run(plan, progress.show, inpainter, workers, fail_fast, stop, run_on_ray)
    _print_summary(summary, out)
    if stop.signal:
        raise SystemExit(128 + stop.signal)
    if summary.failed:
        raise SystemExit(1)


def _check_folders(photos: Path | str, out: Path | str) -> None:
    if isinstance(photos, Path):
        with reachable(photos):
            if photos.is_file():
                raise click.UsageError(f"{photos} is a file; to fill one photo, use: pconv inpaint PHOTO MASK -o OUT")
            if not photos.exists():
                raise click.UsageError(f"the folder of photos {photos} does not exist")
    if isinstance(out, Path):
        with reachable(out):
            if out.is_file():
                raise click.UsageError(f"{out} is a file; name the folder to write the results to")
            if out.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff") and not out.exists():
                raise click.UsageError(f"OUT must be a folder, and {out} is a file's name")


def _split_masks(masks: Path | str | None) -> tuple[Path | str | None, str | None]:
    """The folder of the masks, and the name of the one file in it that is the mask of all photos."""
    if masks is None:
        return None, None
    if isinstance(masks, Path):
        with reachable(masks):
            if not masks.exists():
                raise click.UsageError(f"the masks {masks} do not exist")
            return (masks, None) if masks.is_dir() else (masks.absolute().parent, masks.name)
    from pconv.batch.storage import is_image

    above, _, name = masks.rpartition("/")
    return (above, name) if is_image(name) else (masks, None)


class Progress:
    """Shows a bar and failures on a terminal, and prints JSON lines where standard output is not a terminal."""

    def __init__(self, total: int) -> None:
        hidden = not sys.stderr.isatty()
        self._bar: Any = click.progressbar(length=total, file=sys.stderr, hidden=hidden, show_pos=True)
        self._hidden = hidden
        self._shown: dict[str, int] = {}
        self._notes: Counter[str] = Counter()

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)
        for note, photos in self._notes.most_common():
            click.echo(f"note: {printable(note)}" + (f" ({photos} photos)" if photos > 1 else ""), err=True)

    def show(self, entry: Entry) -> None:
        if not sys.stdout.isatty():
            click.echo(entry.line())
        if entry.error:
            self._shown[entry.status] = self._shown.get(entry.status, 0) + 1
            if entry.status == "failed" or self._shown[entry.status] <= MAX_SHOWN:
                clear = "" if self._hidden else "\r\033[K"
                click.echo(f"{clear}{entry.status}: {printable(entry.sentence)}", err=True)
        self._notes.update(entry.notes if entry.status == "done" else ())
        if entry.status != "no mask":
            self._bar.update(1)


def _print_plan(plan: Plan) -> None:
    def note(text: str) -> None:
        click.echo(f"note: {printable(text)}", err=True)

    for problem in plan.problems:
        click.echo(f"failed: {printable(problem)}", err=True)
    if plan.history.broken:
        note(f"{plan.history.broken} lines of the manifest are broken; their photos are done again")
    if plan.others:
        note(f"{plan.others} files in {plan.job.photos.place} are not images by their suffix, and are left out")
    if plan.unused_masks:
        some = ", ".join(plan.unused_masks[:MAX_SHOWN]) + (" and more" if len(plan.unused_masks) > MAX_SHOWN else "")
        note(f"{len(plan.unused_masks)} masks have no photo: {some}")
    if not sys.stdout.isatty():
        for mask in plan.unused_masks:
            click.echo(json.dumps({"mask": mask, "status": "no photo"}))


def _print_summary(summary: Summary, out: Path | str) -> None:
    counts = {"done": summary.done, "skipped (done before)": summary.skipped, "failed": summary.failed}
    counts |= {"without a mask": summary.no_mask, "masks without a photo": summary.unused_masks, "left": summary.left}
    if not sys.stdout.isatty():
        click.echo(json.dumps({"summary": asdict(summary)}))
    text = ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "nothing to do"
    click.echo(f"{text} in {summary.seconds:.1f} s; results and manifest in {out}", err=True)
