"""Finding models: bundled ones, files, and URLs. ONNX graphs fill; safetensors checkpoints also train on."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pconv.errors import ModelError
from pconv.files import sha256_of
from pconv.models.source import parse_source

DEFAULT_MODEL = "default"
SUPERRES_MODEL = "superres"
CLEAN_MODEL = "clean"
BUNDLED = (DEFAULT_MODEL, CLEAN_MODEL, SUPERRES_MODEL)

CHECKPOINT = ".safetensors"
GRAPH = ".onnx"
GRAPH_FORMAT = "pconv-fill-2"
"""The format in the metadata of exported graphs. The number goes up where an older reader cannot use them."""

SUMS_FILE = "SHA256SUMS"

SEEDS = 64
"""Seeds of networks with noise inputs: 0 to 63."""


def find_model(model: str | Path, suffix: str = CHECKPOINT) -> Path:
    """The file of a model.

    Args:
        model: a bundled model's name; a file's path; or a URL, which ends in ``#sha256=HASH`` and is downloaded once.
        suffix: the form of a bundled model that is wanted. The graph's weights are in the checkpoint, so the hashes of
            both are checked.

    Raises:
        ModelError: no such model, or a bundled one is not as we shipped it.
        DownloadError: the download failed, or brought something else.
    """
    name = str(model)
    if name in BUNDLED:
        checkpoint = _unchanged(Path(__file__).parent / f"{name}{CHECKPOINT}")
        return _unchanged(checkpoint.with_suffix(suffix))
    source = parse_source(name)
    if source.url or source.sha256 or _is_file(name):
        return source.file()
    raise ModelError(
        f"unknown model {name!r}: bundled are {', '.join(BUNDLED)}; or give a model file's path or URL#sha256=HASH"
    )


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
    """SHA-256 of each bundled file, by its name."""
    lines = (Path(__file__).parent / SUMS_FILE).read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


@lru_cache
def _unchanged(path: Path) -> Path:
    """``path``, after its content is compared with its hash, once in each process."""
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


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # no name that a file could have
        return False
