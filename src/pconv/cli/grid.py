"""``pconv grid``: gaps in NetCDF files."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pconv import __version__
from pconv.cli.common import PathType, device_option, make_folder, needs_extra, writing_to, wrong_usage
from pconv.errors import InputError, ModelError, TrainingError

if TYPE_CHECKING:
    from pconv.grid.series import Scan, Series


@click.group()
def grid() -> None:
    """Fill gaps in gridded data, NetCDF in and NetCDF out, with a model trained on the data itself."""


def _names(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


def _series_options(command: Callable[..., None]) -> Callable[..., None]:
    """The files, the variables, and how they are read; the command gets ``paths``, ``variables`` and ``reading``."""

    @functools.wraps(command)
    def collect(**values: Any) -> None:
        reading = {name: values.pop(name) for name in ("dims", "missing", "area", "periodic")}
        command(reading=reading, **values)

    for option in reversed(
        (
            click.argument("paths", nargs=-1, required=True, type=PathType, metavar="FILE..."),
            click.option(
                "--variable",
                "variables",
                required=True,
                callback=_names,
                help="Its name; several at commas are filled together.",
            ),
            click.option("--dims", callback=_names, help="time,y,x by name, where the CF conventions do not tell."),
            click.option("--missing", type=float, help="A value that means missing, beside those the file names."),
            click.option(
                "--area/--no-area", default=None, help="Cells count by area; --no-area: plain rows, columns."
            ),
            click.option(
                "--periodic/--no-periodic", default=None, help="Columns go round the globe.  [default: found]"
            ),
        )
    ):
        collect = option(collect)
    return collect


@grid.command()
@_series_options
@click.option("-o", "--output", "out", type=PathType, required=True, help="Folder of the model; made if missing.")
@click.option("--context", type=click.IntRange(0, 8), default=0, show_default=True, help="Steps before and after.")
@click.option(
    "--anomalies/--no-anomalies",
    default=None,
    help="Compute on differences from the climatology of each month.  [default: where the data suffices]",
)
@click.option("--gaps", help="own, made, or FILE[:VARIABLE] of gap patterns, non-zero = gap.  [default: own if any]")
@click.option(
    "--modes/--no-modes", default=True, show_default=True, help="Try a first guess from modes of the training steps."
)
@click.option("--steps", type=click.IntRange(min=1), default=4000, show_default=True, help="Of training, at most.")
@click.option("--minutes", type=click.FloatRange(min=0), default=12.0, show_default=True, help="At most; 0: no limit.")
@click.option("--width", type=click.FloatRange(0.125, 8), default=1.0, show_default=True, help="Of the network.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and gaps.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@device_option
def train(
    paths: tuple[Path, ...],
    variables: tuple[str, ...],
    reading: dict[str, Any],
    out: Path,
    gaps: str | None,
    resume: bool,
    device: str,
    **settings: Any,
) -> None:
    """Learn to fill from what FILE... knows; gaps of the data itself are no obstacle.

    The folder gets model.safetensors, the curve of the training (curve.csv, curve.png) and state.pt for --resume.
    Steps for early stopping and for the error estimate are held out as blocks of time.
    """
    with needs_extra("grid"):
        from pconv.grid.samples import Data, TrainOptions
        from pconv.grid.training import draw_curve
        from pconv.grid.training import train as run
        from pconv.nn.devices import resolve_device

        with wrong_usage(InputError):
            series = _open(paths, variables, reading)
            _counts(series)
            values = series.read(0, len(series))[0]
            units = tuple(str(each.get("units", "")) for each in series.attributes)
            data = Data(values, series.times, series.grid, variables, units, reading["missing"])
            patterns = None
            if gaps not in (None, "own", "made"):
                patterns = _patterns(gaps or "", series, variables)
            options = TrainOptions(
                gaps=gaps if patterns is None else None, device=str(resolve_device(device)), **settings
            )
        make_folder(out)
        with (
            writing_to(out),
            wrong_usage(InputError, TrainingError),
            click.progressbar(
                length=1000,
                label="training",
                file=sys.stderr,
                hidden=not sys.stderr.isatty(),
                item_show_func=lambda text: text or "",
            ) as bar,
        ):

            def says(part: float, text: str, worth_a_line: bool) -> None:
                bar.update(max(0, int(1000 * part) - bar.pos), text)
                if worth_a_line and bar.hidden:
                    click.echo(text, err=True)

            model = run(data, options, out, patterns, _note, says, resume)
        draw_curve(out)
        _summary(model)
        click.echo(f"{out / 'model.safetensors'}")


@grid.command()
@_series_options
@click.option("--model", required=True, type=PathType, help="Folder or file that pconv grid train wrote.")
@click.option("-o", "--output", "out", type=PathType, required=True, help="File; for several inputs a folder.")
@click.option("--everywhere", is_flag=True, help="Also cells that the training data never knew.")
@click.option("--mask", "mask_file", help="FILE[:VARIABLE], non-zero = may be filled; with or without time.")
@click.option("--max-gap", type=click.IntRange(min=0), help="The longest gap in time that is filled, steps.")
@click.option("--max-area", type=click.FloatRange(min=0), help="The largest gap that is filled, km2 (else cells).")
@click.option("--min-observed", type=click.FloatRange(0, 1), default=0.0, help="Least known share of a step, 0 to 1.")
@click.option("--minimum", type=float, help="Of filled values, as 0 for rain.")
@click.option("--maximum", type=float, help="Of filled values.")
@device_option
def fill(
    paths: tuple[Path, ...],
    variables: tuple[str, ...],
    reading: dict[str, Any],
    model: Path,
    out: Path,
    everywhere: bool,
    mask_file: str | None,
    max_gap: int | None,
    max_area: float | None,
    min_observed: float,
    minimum: float | None,
    maximum: float | None,
    device: str,
) -> None:
    """Fill the gaps of FILE... with a model of its variables and its grid.

    The output is the input with its filled cells, NAME_filled and NAME_error beside each variable, and a line of
    history. Known values are the same bits.
    """
    with needs_extra("grid"):
        from pconv.grid.domain import Limits
        from pconv.grid.fill import FillOptions
        from pconv.grid.masks import read_mask
        from pconv.grid.model import load_model
        from pconv.grid.output import fill_files
        from pconv.nn.devices import resolve_device

        with wrong_usage(InputError, ModelError):
            loaded = load_model(model)
            reading = _as_trained(reading, loaded)
            targets = _targets(paths, out)
            variables = _in_order(variables, loaded)
            series = _open(paths, variables, reading, need_time=False)
            scan = _counts(series)
            mask = read_mask(mask_file, series.grid, series.times) if mask_file else None
            if not any(sum(found.values()) for found in scan.counts.values()):
                raise InputError(f"{paths[0]} has no gaps in {', '.join(variables)}: there is nothing to fill")
        options = FillOptions(
            everywhere, Limits(max_gap, max_area, min_observed), minimum, maximum, str(resolve_device(device))
        )
        with (
            writing_to(out),
            wrong_usage(InputError, ModelError),
            click.progressbar(
                length=len(series), label="filling", file=sys.stderr, hidden=not sys.stderr.isatty()
            ) as bar,
        ):
            totals = fill_files(series, loaded, targets, options, _typed(), mask, _note, bar.update)
    for name, total in totals.items():
        text = f"{name}: {total.filled:,} cells filled, {total.missing:,} stay missing"
        reasons = [f"{total.outside:,} outside the domain"] if total.outside else []
        reasons += [f"{total.refused:,} in gaps beyond the limits"] if total.refused else []
        click.echo(text + (f" ({', '.join(reasons)})" if reasons else ""))
    for target in targets:
        click.echo(str(target))


@grid.command()
@_series_options
@click.option("--model", required=True, type=PathType, help="Folder or file that pconv grid train wrote.")
@click.option("-o", "--output", "out", type=PathType, required=True, help="Folder of the report; made if missing.")
@click.option("--gaps", help="own, made, or FILE[:VARIABLE] of gap patterns, non-zero = gap.  [default: own if any]")
@click.option("--most", type=click.IntRange(min=1), default=120, show_default=True, help="Steps to measure, at most.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the gaps.")
@device_option
def evaluate(
    paths: tuple[Path, ...],
    variables: tuple[str, ...],
    reading: dict[str, Any],
    model: Path,
    out: Path,
    gaps: str | None,
    most: int,
    seed: int,
    device: str,
) -> None:
    """Is the model worth it? Hide known cells of FILE..., fill them, and compare with other methods.

    Steps that the model was trained on are left out. The folder gets report.html, scores.csv and summary.json.
    """
    with needs_extra("grid"):
        from pconv.grid.evaluate import evaluate as run
        from pconv.grid.model import load_model
        from pconv.grid.page import write_report
        from pconv.nn.devices import resolve_device

        with wrong_usage(InputError, ModelError):
            loaded = load_model(model)
            variables = _in_order(variables, loaded)
            series = _open(paths, variables, _as_trained(reading, loaded))
            _counts(series)
            units = {n: str(a.get("units", "")) for n, a in zip(series.variables, series.attributes, strict=True)}
            loaded.check(series.grid, units, str(paths[0]))
            values = series.read(0, len(series))[0]
            patterns = None
            if gaps not in (None, "own", "made"):
                patterns, gaps = _patterns(gaps or "", series, variables), None
            with click.progressbar(
                length=8,
                label="evaluating",
                file=sys.stderr,
                hidden=not sys.stderr.isatty(),
                item_show_func=lambda text: text or "",
            ) as bar:
                found = run(
                    loaded, values, series.times, gaps, patterns, seed, str(resolve_device(device)), most,
                    lambda method: bar.update(1, method),
                )  # fmt: skip
        make_folder(out)
        with writing_to(out):
            write_report(found, out, _typed())
    for text in found.notes:
        _note(text)
    for name in variables:
        for method, scores in found.scores[name].items():
            click.echo(f"{name}  {method:<20} RMSE {scores.rmse:<8.3g} MAE {scores.mae:<8.3g} bias {scores.bias:.2g}")
        one, two = found.within[name]
        click.echo(
            f"{name}: the truth lies within one expected error in {one:.0%} of the cells, within two in {two:.0%}"
        )
    for name in variables:
        click.echo(found.verdict(name))
    click.echo(str(out / "report.html"))


def _patterns(text: str, series: Series, variables: tuple[str, ...]) -> Any:
    """Gap patterns of a file, ``(N, V, H, W)``."""
    from pconv.grid.masks import read_mask

    return read_mask(text, series.grid, None).maps[:, None].repeat(len(variables), axis=1)


def _in_order(variables: tuple[str, ...], model: Any) -> tuple[str, ...]:
    """The variables in the order of the model's channels."""
    return model.variables if set(variables) == set(model.variables) else variables  # type: ignore[no-any-return]


def _as_trained(reading: dict[str, Any], model: Any) -> dict[str, Any]:
    """Read a file as the model's was read, where the user does not say."""
    known = {"area": model.grid.degrees, "periodic": model.grid.periodic, "missing": model.facts.get("missing")}
    return reading | {name: value for name, value in known.items() if reading[name] is None}


def _targets(paths: tuple[Path, ...], out: Path) -> list[Path]:
    from pconv.cli.common import need_file, need_place_for

    for path in paths:
        need_file(path, "the file")
    if len(paths) == 1:
        need_place_for(out, force=True)
        if out.exists() and out.samefile(paths[0]):
            raise InputError(f"{out} is the input: write to another file")
        return [out]
    make_folder(out)
    targets = [out / path.name for path in paths]
    if len(set(targets)) < len(targets):
        raise InputError("two of the files have the same name, and their outputs would lie in one folder")
    if any(target.exists() and target.samefile(path) for path, target in zip(paths, targets, strict=True)):
        raise InputError(f"{out} holds the inputs: write to another folder")
    return targets


def _open(
    paths: tuple[Path, ...], variables: tuple[str, ...], reading: dict[str, Any], need_time: bool = True
) -> Series:
    from pconv.grid.series import ReadOptions, Series

    area = reading["area"] is not False
    return Series(
        paths, variables, ReadOptions(reading["dims"], reading["missing"], area, reading["periodic"]), need_time
    )


def _counts(series: Series) -> Scan:
    """Say what is missing, by kind, before anything else happens."""
    scan = series.scan()
    cells = len(series) * scan.ever[0].size
    rows, columns = series.grid.shape
    around = ", periodic" if series.grid.periodic else ""
    click.echo(f"{len(series)} steps of {rows} x {columns} cells{around}")
    for number, (name, found) in enumerate(scan.counts.items()):
        total = sum(found.values())
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.items() if count)
        never = int((~scan.ever[number]).sum())
        text = f"{name}: {total:,} of {cells:,} cells are missing" + (f": {kinds}" if kinds else "")
        click.echo(text + (f"; {never:,} cells are never known" if never else ""))
    for text in scan.constants:
        _note(text)
    return scan


def _summary(model: Any) -> None:
    for number, (name, unit) in enumerate(zip(model.variables, model.units, strict=True)):
        errors = model.errors.by_distance[number]
        click.echo(
            f"{name}: expected error {errors[0]:.3g} {unit} beside known cells, {errors[-1]:.3g} {unit} far away"
        )
    one, two = model.facts["within"]
    click.echo(f"of held-out cells, {one:.0%} lie within one expected error and {two:.0%} within two")


def _note(text: str) -> None:
    click.echo(f"note: {text}", err=True)


def _typed() -> str:
    """The command line, for the files' history."""
    return f"{shlex.join(['pconv', *sys.argv[1:]])} (pconv {__version__})"
