"""What the commands share: checks of files and folders, and errors as exit codes."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pconv.errors import InputError, PconvError, how_to_install
from pconv.inpainting.options import InpaintOptions

if TYPE_CHECKING:
    from pconv.inpainting.backends import Backend

PathType = click.Path(path_type=Path)
T = TypeVar("T")

MAX_SHOWN = 10
"""Names of one kind that are printed to a terminal."""


class _PlaceType(click.Path):
    """A path; or a URL (s3://bucket/photos), which stays text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, str) and "://" in value else super().convert(value, param, ctx)


PlaceType = _PlaceType(path_type=Path)


@contextmanager
def wrong_usage(*kinds: type[PconvError]) -> Iterator[None]:
    """Errors that the command line itself is to blame for: exit code 2."""
    try:
        yield
    except kinds as error:
        raise click.UsageError(str(error)) from error


def parse_bytes(ctx: click.Context, option: click.Parameter, value: str) -> int:
    """``500M``, ``2G``, ``1.5 GB``, in units of 1024; for an option's callback."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", value.strip(), re.IGNORECASE)
    if not found:
        raise click.BadParameter(f"{value!r} is no amount of memory; write it like 500M or 2G")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def inpaint_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of InpaintOptions; it gets one object, ``options``."""

    @functools.wraps(command)
    def collect(**values: Any) -> None:
        given = {each.name: values.pop(each.name) for each in fields(InpaintOptions)}
        with wrong_usage(InputError):
            options = InpaintOptions(**given)
        command(options=options, **values)

    for each in reversed(fields(InpaintOptions)):
        known = each.metadata["help"]
        kind: dict[str, Any] = {"type": click.IntRange(known.low, known.high), "metavar": "N"}
        if isinstance(each.default, bool):
            kind = {"is_flag": True}
        elif isinstance(each.default, tuple):
            kind = {"metavar": "N,N"}
        default = "" if isinstance(each.default, tuple) else each.default
        collect = click.option(f"--{each.name}", default=default, help=known.text, **kind)(collect)
    return collect


model_option = click.option(
    "--model", default="default", show_default=True, help="default, or a model's path or URL#sha256=HASH."
)
device_option = click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")

_NETWORK = {
    "model": model_option,
    "device": device_option,
    "backend": click.option(
        "--backend", default="auto", show_default=True, help="onnxruntime, torch, openvino; auto takes the fastest."
    ),
    "precision": click.option(
        "--precision",
        default="auto",
        show_default=True,
        help="fp32, bf16; auto: bf16 with PyTorch where the device computes in it.",
    ),
    "max_memory": click.option(
        "--max-memory", default="1G", show_default=True, callback=parse_bytes, help="For filling, beside the image."
    ),
}
"""What computes, by the names of Inpainter's arguments."""


def network_options(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of what computes; it gets one dictionary, ``network``, for ``Inpainter(**network)``.

    Args:
        left_out: options that the command has in a form of its own.
    """
    options = {name: option for name, option in _NETWORK.items() if name not in left_out}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def collect(**values: Any) -> None:
            command(network={name: values.pop(name) for name in options}, **values)

        for option in reversed(options.values()):
            collect = option(collect)
        return collect

    return decorate


quality_option = click.option(
    "--quality",
    type=click.IntRange(1, 100),
    metavar="Q",
    help="1 to 100, of JPEG, WebP, AVIF, HEIC. Left out, a JPEG keeps the photo's own.",
)
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Print the model, runtime, device and precision.")


def fill_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that ``pconv inpaint`` and ``pconv batch`` share."""
    options: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
        click.option(
            "--hole",
            "holes",
            multiple=True,
            metavar="WHERE",
            help="Fill this too: alpha, color:#ff00ff[:TOLERANCE], rect:X,Y,WIDTH,HEIGHT. Repeatable; no mask needed.",
        ),
        inpaint_options,
        quality_option,
        network_options(),
        verbose_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def computes_with(backend: Backend) -> str:
    """What computes, as commands say it with --verbose."""
    return f"{backend.path} with {backend.name} on {backend.device} in {backend.precision}"


def need_file(path: Path, what: str) -> None:
    with reachable(path):
        if path.is_dir():
            raise click.UsageError(f"{what} {path} is a folder, not a file")
        if not path.exists():
            raise click.UsageError(f"{what} {path} does not exist")


def need_place_for(out: Path, *inputs: Path, force: bool) -> None:
    """The folder of ``out`` must be there, and ``out`` none of the inputs."""
    with reachable(out):
        if not out.absolute().parent.is_dir():
            raise click.UsageError(f"the folder {out.absolute().parent} does not exist; make it, or write elsewhere")
        if out.is_dir():
            raise click.UsageError(f"{out} is a folder; name the file to write")
        for path in inputs:
            if out.exists() and out.samefile(path) and not force:
                raise click.UsageError(f"{out} would overwrite the input {path}; add --force if that is meant")


@contextmanager
def reachable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise click.UsageError(f"cannot get to {path}: {getattr(error, 'strerror', None) or error}") from error


def progress(items: Iterable[T], length: int) -> AbstractContextManager[Iterable[T]]:
    return click.progressbar(items, length=length, file=sys.stderr, hidden=not sys.stderr.isatty())


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(f"this needs {error.name}: {how_to_install(extra)}") from error


def make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot make the folder {out}: {error.strerror}") from error


@contextmanager
def writing_to(out: Path | str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # whoever read what we print has gone: click ends quietly
        raise
    except OSError as error:
        raise click.ClickException(f"cannot write to {out}: {error.strerror or error}") from error


def printable(text: str) -> str:
    """``text`` with what a terminal cannot show written out: a file's name may hold anything."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
