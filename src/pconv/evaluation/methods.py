"""The methods by name: what each needs, what it is called in tables, and how to make it in a worker process."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pconv.errors import InputError, ModelError, how_to_install
from pconv.evaluation import baselines
from pconv.evaluation.baselines import Fill
from pconv.files import sha256_of

COMMAND = "cmd:"
BASELINES_VERSION = 1
"""Version of the functions in baselines.py: goes up when their results change."""


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Attributes:
        name: unique, as in files and on the command line.
        label: for people.
        fingerprint: changes when the method could give other pixels: a file's hash, a package's version, a command.
        make: makes the function that fills, in the process that will call it.
        ours: whether others are compared to it.
        cap: pairs of each cell that it is run at, the first ones; None is all.
    """

    name: str
    label: str
    fingerprint: str
    make: Callable[[], Fill]
    ours: bool = False
    cap: int | None = None


@dataclass(frozen=True)
class _Baseline:
    label: str
    fill: Fill
    module: str = ""
    package: str = ""
    """Distribution that has the module."""


_CONTRIB = "opencv-contrib-python-headless"
_BASELINES = {
    "telea": _Baseline("OpenCV Telea", baselines.telea, "cv2", _CONTRIB),
    "ns": _Baseline("OpenCV Navier-Stokes", baselines.navier_stokes, "cv2", _CONTRIB),
    "biharmonic": _Baseline("scikit-image biharmonic", baselines.biharmonic, "skimage", "scikit-image"),
    "patchmatch": _Baseline("PatchMatch (pypatchmatch)", baselines.patchmatch, "patchmatch", "pypatchmatch"),
    "fsr": _Baseline("OpenCV contrib FSR (fast)", baselines.frequency_selective, "cv2.xphoto", _CONTRIB),
    "mean": _Baseline("mean colour", baselines.mean_colour),
}

PLAIN = "plain"
KNOWN = (*_BASELINES, PLAIN)
ABLATION = Path(__file__).parent / "ablation"
ABLATION_PLAIN, ABLATION_PARTIAL = "plain-grey.safetensors", "partial.safetensors"


def ablation_checkpoint(name: str) -> Path:
    """A checkpoint of the comparison of partial with plain convolutions (docs/guides/evaluation.md).

    Raises:
        InputError: it is not here; only the repository has these files, installed packages have not.
    """
    path = ABLATION / name
    if not path.is_file():
        raise InputError(
            f"{PLAIN} needs a network of plain convolutions: give its checkpoint with --plain-model. The one of "
            f"docs/guides/evaluation.md comes with the repository, not with the installed package"
        )
    return path


def find_methods(names: list[str], plain_model: Path | None, time_limit: float) -> list[Method]:
    """The methods to compare with, in the order of their names.

    Args:
        names: of ``KNOWN``, or commands, ``cmd:my_tool {image} {mask} {out}``.
        plain_model: checkpoint for "plain"; None is the repository's.
        time_limit: seconds for one fill by a command.

    Raises:
        InputError: an unknown name, a command that is not understood, or a method that is not installed.
        ModelError: ``plain_model`` is no such checkpoint.
    """
    found: list[Method] = []
    for name in dict.fromkeys(names):
        if name.startswith(COMMAND):
            found.append(_command(name, [method.name for method in found], time_limit))
        elif name == PLAIN:
            found.extend(_plain(plain_model))
        elif name in _BASELINES:
            found.append(_baseline(name))
        else:
            raise InputError(
                f"unknown method {name!r}; known are {', '.join(KNOWN)}, and 'cmd:my_tool {{image}} {{mask}} {{out}}' "
                f"for any other program"
            )
    return found


def capped(methods: list[Method], caps: Mapping[str, int]) -> list[Method]:
    """The methods with the caps of those named, for what is too slow to run at every pair.

    Raises:
        InputError: a name that none of them has.
    """
    unknown = caps.keys() - {method.name for method in methods}
    if unknown:
        names = ", ".join(method.name for method in methods)
        raise InputError(f"--cap names {min(unknown)!r}, which is not run here; there are {names}")
    return [replace(method, cap=caps.get(method.name)) for method in methods]


def our_methods(models: list[str]) -> list[Method]:
    """Our network with each of these checkpoints; the first is the one that others are compared to.

    Raises:
        ModelError: no such model, or not a checkpoint of partial convolutions.
    """
    from pconv.models import BUNDLED, CHECKPOINT, find_model

    found: list[Method] = []
    for model in dict.fromkeys(models):
        path = find_model(model).resolve()
        if path.suffix == CHECKPOINT:
            _check_partial(path)
        name = _unused("pconv-" + _slug(model if model in BUNDLED else path.stem), [m.name for m in found])
        label = f"pconv {model}" if model in BUNDLED else f"pconv {path.parent.name}/{path.stem}"
        fill = partial(baselines.network, model if model in BUNDLED else path)
        found.append(Method(name, label, _fingerprint(path), fill, ours=not found))
    return found


def _fingerprint(path: Path) -> str:
    import pconv
    from pconv.inpainting.tiles import REVISION

    return f"{sha256_of(path)}, pconv {pconv.__version__}, filling {REVISION}"


def _baseline(name: str) -> Method:
    baseline = _BASELINES[name]
    if baseline.module and not _is_there(baseline.module):
        raise InputError(
            f"{name} needs the module {baseline.module}, which is not installed: {how_to_install('evaluate')}"
        )
    versions = [baseline.package and f"{baseline.package} {_version(baseline)}", f"pconv baseline {BASELINES_VERSION}"]
    return Method(name, baseline.label, ", ".join(filter(None, versions)), partial(_itself, baseline.fill))


def _itself(fill: Fill) -> Fill:
    return fill


def _version(baseline: _Baseline) -> str:
    if baseline.module.startswith("cv2"):
        import cv2

        return str(cv2.__version__)  # several distributions bring cv2
    return importlib.metadata.version(baseline.package)


def _is_there(module: str) -> bool:
    parent, _, child = module.partition(".")
    if importlib.util.find_spec(parent) is None:
        return False
    if parent == "cv2" and child:  # an extension module, whose parts are no files
        import cv2

        return hasattr(cv2, child)
    return True


def _plain(model: Path | None) -> list[Method]:
    from pconv.nn.plain import load_plain

    path = (model or ablation_checkpoint(ABLATION_PLAIN)).resolve()
    network = load_plain(path)
    kind = "holes " + "/".join(f"{value * 255:.4g}" for value in dict.fromkeys(network.config.fill))
    found = [Method(PLAIN, f"plain convolutions ({kind})", sha256_of(path), partial(baselines.plain_network, path))]
    if model is None:
        partial_path = ablation_checkpoint(ABLATION_PARTIAL)
        fill = partial(baselines.network, partial_path)
        found.append(Method("partial", "partial convolutions (as plain)", _fingerprint(partial_path), fill))
    return found


def _command(name: str, taken: list[str], limit: float) -> Method:
    template = name.removeprefix(COMMAND).strip()
    missing = [name for name in baselines.PLACEHOLDERS if name not in template]
    if missing:
        raise InputError(
            f"the command {template!r} has no {' and no '.join(missing)}; write 'cmd:tool {{image}} {{mask}} {{out}}'"
        )
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise InputError(f"the command {template!r} cannot be understood: {error}") from error
    short = _unused(f"cmd-{_slug(Path(words[0]).stem)}", taken)
    return Method(short, template, f"command {template}", partial(baselines.command, template, limit))


def _check_partial(path: Path) -> None:
    from pconv.nn.checkpoint import read_checkpoint

    config, *_ = read_checkpoint(path, weights=False)
    if "fill" in config:
        raise ModelError(f"{path} is a network of plain convolutions; give it as --plain-model, with --against plain")


def _unused(name: str, taken: list[str]) -> str:
    number = sum(other == name or re.fullmatch(re.escape(name) + r"-\d+", other) is not None for other in taken)
    return f"{name}-{number + 1}" if number else name


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "tool"
