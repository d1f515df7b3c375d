"""Metrics by other projects' networks: LPIPS, FID and the Inception score, with torchmetrics, from local weight files.

Nothing is downloaded. Where a package or a weight file is missing, the metric is left out and the report says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pconv.errors import EvaluationError
from pconv.evaluation.protocol import fit_photo
from pconv.evaluation.runner import FillTask, WorkerSettings, read_fill

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pconv.evaluation.summary import Results

_VGG_NAME = "vgg16-397923af.pth"
"""What torchvision's weights of VGG-16 are called in torch.hub's cache."""

INSTALL = "pip install torchmetrics torchvision torch-fidelity"


@dataclass(frozen=True)
class LearnedWeights:
    """Weight files.

    Attributes:
        lpips: torchvision's ``vgg16`` state dict (vgg16-397923af.pth), the network under LPIPS.
        inception: torch-fidelity's weights-inception-2015-12-05-6726825d.pth, for FID and the Inception score.
    """

    lpips: Path | None = None
    inception: Path | None = None


def learned_metrics(
    results: Results, tasks: Sequence[FillTask], settings: WorkerSettings, weights: LearnedWeights
) -> list[str]:
    """Add LPIPS to each score, and FID and the Inception score to each method.

    Returns:
        A sentence for each metric that was left out, and for what must be known about the others.

    Raises:
        EvaluationError: a weight file was given and cannot be used.
    """
    notes = []
    if weights.lpips is None:
        notes.append("LPIPS: not measured, it needs torchvision's VGG-16 weights: --lpips FILE")
    elif missing := _missing("torchmetrics", "torchvision"):
        notes.append(f"LPIPS: not measured, {missing} is not installed: {INSTALL}")
    else:
        with _checked_weights(weights.lpips):
            _add_lpips(results, tasks, settings, weights.lpips)
    if weights.inception is None:
        notes.append("FID and Inception score: not measured, they need Inception's weights: --inception FILE")
    elif missing := _missing("torchmetrics", "torch_fidelity"):
        notes.append(f"FID and Inception score: not measured, {missing} is not installed: {INSTALL}")
    else:
        with _checked_weights(weights.inception):
            _add_inception(results, tasks, settings, weights.inception)
        notes.append(
            f"FID of {len(results.pairs)} images: compare it only with an FID of as many; few images make it larger"
        )
    return notes


def _add_lpips(results: Results, tasks: Sequence[FillTask], settings: WorkerSettings, weights: Path) -> None:
    import torch
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    with tempfile.TemporaryDirectory(prefix="pconv-") as folder:
        (Path(folder) / "checkpoints").mkdir()
        (Path(folder) / "checkpoints" / _VGG_NAME).symlink_to(weights.resolve())
        usual = torch.hub.get_dir()
        torch.hub.set_dir(folder)
        try:
            lpips = LearnedPerceptualImagePatchSimilarity("vgg", normalize=True)
        finally:
            torch.hub.set_dir(usual)
    for task, composite, truth in _finished(results, tasks, settings):
        with torch.inference_mode():
            value = float(lpips(_tensor(composite).float() / 255, _tensor(truth).float() / 255))
        results.scores[task.method.name, task.pair.name].values["lpips"] = value


def _add_inception(results: Results, tasks: Sequence[FillTask], settings: WorkerSettings, weights: Path) -> None:
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
    from torchmetrics.image.inception import InceptionScore

    def network(feature: str) -> Any:
        return NoTrainInceptionV3(
            name="inception-v3-compat", features_list=[feature], feature_extractor_weights_path=str(weights)
        )

    for method in results.methods:
        distance = FrechetInceptionDistance(network("2048"))
        score = InceptionScore(network("logits_unbiased"), splits=1)
        mine = [task for task in tasks if task.method.name == method.name]
        with torch.inference_mode():
            for _, composite, truth in _finished(results, mine, settings):
                distance.update(_tensor(truth), real=True)
                distance.update(_tensor(composite), real=False)
                score.update(_tensor(composite))
            results.whole[method.name] = {
                "FID": float(distance.compute()),
                "Inception score": float(score.compute()[0]),
            }


def _finished(
    results: Results, tasks: Sequence[FillTask], settings: WorkerSettings
) -> Iterator[tuple[FillTask, NDArray[Any], NDArray[Any]]]:
    for task in tasks:
        if (task.method.name, task.pair.name) in results.scores:
            yield task, read_fill(task, settings), fit_photo(task.pair.photo, task.pair.mask.size)


def _tensor(pixels: NDArray[Any]) -> Tensor:
    import torch

    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def _missing(*modules: str) -> str:
    from importlib.util import find_spec

    return " and ".join(module for module in modules if find_spec(module) is None)


@contextmanager
def _checked_weights(weights: Path) -> Iterator[None]:
    """Turn what torch and torchmetrics raise on other files into an EvaluationError.

    torch-fidelity unpickles any file, and a pickle can run code. This first reads the file as weights only, which runs
    none.
    """
    import torch

    try:
        torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler that reads any file can raise anything
        raise EvaluationError(f"{weights} is no file of weights, or holds more than weights") from error
    try:
        yield
    except Exception as error:  # tensors of other names or shapes
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise EvaluationError(f"{weights} cannot be used as weights: {reason}") from error
