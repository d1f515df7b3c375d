"""The models in the box, those elsewhere, and finding any other: ONNX to fill with, safetensors to train on from."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pconv.errors import ModelError
from pconv.files import sha256_of
from pconv.models.source import Source, parse_source

DEFAULT_MODEL = "default"
BUNDLED = (DEFAULT_MODEL,)

ELSEWHERE = {"paper": "PCONV_PAPER"}
"""Models that are too large for the box, and the environment variable that says where each is."""

CHECKPOINT = ".safetensors"
GRAPH = ".onnx"
GRAPH_FORMAT = "pconv-fill-2"
"""What the metadata of our ONNX files say they are; another number where inputs or outputs change."""

SUMS_FILE = "SHA256SUMS"

SEEDS = 64
"""Seeds of networks with noise inputs: 0 to 63."""


def find_model(model: str | Path, suffix: str = CHECKPOINT) -> Path:
    """The file of a model.

    Args:
        model: a bundled model's name; a file's path; a URL, which ends in ``#sha256=HASH`` and is downloaded once; or
            "paper", whose path or URL the environment variable PCONV_PAPER tells.
        suffix: the form of a bundled model that is wanted. Its graph has its weights in its checkpoint, so both are
            looked at.

    Raises:
        ModelError: no such model, or a bundled one is not as we shipped it.
        DownloadError: the download failed, or brought something else.
    """
    name = str(model)
    if name in BUNDLED:
        checkpoint = _unchanged(Path(__file__).parent / f"{name}{CHECKPOINT}")
        return _unchanged(checkpoint.with_suffix(suffix))
    if name in ELSEWHERE:
        return _elsewhere(name).file()
    source = parse_source(name)
    if source.url or _is_file(name):
        return source.file()
    known = ", ".join((*BUNDLED, *ELSEWHERE))
    raise ModelError(f"unknown model {name!r}: known are {known}; or give a model file's path or URL#sha256=HASH")


def check_format(path: Path, came: str | None, current: str) -> None:
    """Refuse a model file of another kind, or of a newer format than ``current``, such as "pconv-unet-2".

    Raises:
        ModelError: it is one.
    """
    kind, _, newest = current.rpartition("-")
    name, _, number = (came or "").rpartition("-")
    if name != kind or not number.isdecimal():
        raise ModelError(
            f"{path} is not a model of pconv: its metadata says format {came!r}, and {current!r} was expected"
        )
    if int(number) > int(newest):
        raise ModelError(
            f"{path} has the format {came!r}, and this pconv reads up to {current!r}: install a newer pconv"
        )


def bundled_hashes() -> dict[str, str]:
    """SHA-256 of each file in the box, by its name."""
    lines = (Path(__file__).parent / SUMS_FILE).read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


@lru_cache
def _unchanged(path: Path) -> Path:
    """``path``, whose content is what its hash says; looked at once in each process."""
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise ModelError(f"cannot read the bundled model {path} ({error.strerror}): install pconv again") from error
    expected = bundled_hashes().get(path.name)
    if digest != expected:
        raise ModelError(
            f"the bundled model {path} is damaged: its SHA-256 is {digest}, not {expected}; install pconv again"
        )
    return path


def _elsewhere(name: str) -> Source:
    variable = ELSEWHERE[name]
    where = os.environ.get(variable)
    if where:
        return parse_source(where)
    raise ModelError(
        f"the weights of model {name!r} are not in the box (the paper's whole network, 66 MB in half precision): set "
        f"{variable} to a file or to URL#sha256=HASH; pconv train {name} makes them (docs/guides/training.md)"
    )


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # no name that a file could have
        return False
