"""Metrics by networks that others have trained: LPIPS, FID and the Inception score, from local weight files.

Nothing is downloaded. Where a package or a weight file is missing, the metric is left out and the report says so.
torchmetrics computes FID and the Inception score, and brings the linear weights of LPIPS.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pconv.errors import EvaluationError, TrainingError
from pconv.evaluation.protocol import fit_photo
from pconv.evaluation.runner import FillTask, WorkerSettings, read_fill

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pconv.evaluation.summary import Results
    from pconv.training.features import VGG16Features

INSTALL = "pip install torchmetrics"

LPIPS_BLOCKS = 5
_LINEAR = "functional/image/lpips_models/vgg.pth"
"""LPIPS's linear weights for VGG-16, in the package torchmetrics."""


@dataclass(frozen=True)
class LearnedWeights:
    """Weight files.

    Attributes:
        lpips: torchvision's ``vgg16`` state dict (vgg16-397923af.pth, or .safetensors with its key names), the network
            under LPIPS.
        inception: NVIDIA's TorchScript of TensorFlow's Inception (inception-2015-12-05.pt), for FID and the Inception
            score.
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
    elif not _installed():
        notes.append(f"LPIPS: not measured, torchmetrics is not installed: {INSTALL}")
    else:
        _add_lpips(results, tasks, settings, weights.lpips)
    if weights.inception is None:
        notes.append("FID and Inception score: not measured, they need Inception's weights: --inception FILE")
    elif not _installed():
        notes.append(f"FID and Inception score: not measured, torchmetrics is not installed: {INSTALL}")
    else:
        _add_inception(results, tasks, settings, weights.inception)
        notes.append(
            f"FID of {len(results.pairs)} images: compare it only with an FID of as many; few images make it larger"
        )
    return notes


class Lpips:
    """LPIPS (Zhang et al. 2018) with VGG-16, version 0.1: ``distance = lpips(image, truth)``, 0 where they are equal.

    Args:
        path: weights of VGG-16, see ``LearnedWeights``.

    Raises:
        EvaluationError: the file does not hold all five blocks of VGG-16.
    """

    def __init__(self, path: Path) -> None:
        import torch
        from torch import nn

        from pconv.training.features import load_vgg

        try:
            self._vgg: VGG16Features = load_vgg(path, LPIPS_BLOCKS)
        except TrainingError as error:
            raise EvaluationError(f"--lpips: {error}") from error
        if self._vgg.blocks < LPIPS_BLOCKS:
            raise EvaluationError(
                f"LPIPS needs all {LPIPS_BLOCKS} blocks of VGG-16, and {path} has the first {self._vgg.blocks}"
            )
        with resources.as_file(resources.files("torchmetrics") / _LINEAR) as file:
            linear = torch.load(file, map_location="cpu", weights_only=True)
        self._linear = [linear[f"lin{block}.model.1.weight"].flatten() for block in range(LPIPS_BLOCKS)]
        self._seen: list[Tensor] = []
        layers = list(self._vgg.features)
        for layer, behind in pairwise(layers):
            if isinstance(behind, nn.MaxPool2d):  # the last convolution of a block
                layer.register_forward_hook(lambda _, __, out: self._seen.append(out.relu()))

    def __call__(self, image: NDArray[Any], truth: NDArray[Any]) -> float:
        """The distance of two images ``(H, W, 3)`` uint8, sides of 32 px at least."""
        distance = 0.0
        for one, other, weights in zip(self._features(image), self._features(truth), self._linear, strict=True):
            squared = (one - other).square().mean(dim=(0, 2, 3))
            distance += float(squared @ weights)
        return distance

    def _features(self, image: NDArray[Any]) -> list[Tensor]:
        """The outputs of each block's last ReLU, of unit length at each place."""
        import torch

        self._seen.clear()
        with torch.inference_mode():
            self._vgg(_tensor(image).float() / 255)
            return [each / (each.square().sum(1, keepdim=True) + 1e-8).sqrt() for each in self._seen]


def _add_lpips(results: Results, tasks: Sequence[FillTask], settings: WorkerSettings, weights: Path) -> None:
    lpips = Lpips(weights)
    for task, composite, truth in _finished(results, tasks, settings):
        results.scores[task.method.name, task.pair.name].values["lpips"] = lpips(composite, truth)


def _add_inception(results: Results, tasks: Sequence[FillTask], settings: WorkerSettings, weights: Path) -> None:
    import torch
    from torch import nn
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore

    class Features(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            features: Tensor = inception(images, return_features=True)
            return features

    class Logits(nn.Module):
        """The logarithms of the probabilities, whose softmax they are; without bias, as in the original score."""

        def forward(self, images: Tensor) -> Tensor:
            probabilities: Tensor = inception(images, no_output_bias=True)
            return probabilities.clamp(min=1e-30).log()

    probe = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torchmetrics|torch\.jit")
        with _checked_script(weights):
            script: Any = torch.jit.load
            inception = script(weights, map_location="cpu").eval()
            Features()(probe), Logits()(probe)
        for method in results.methods:
            distance, score = FrechetInceptionDistance(Features()), InceptionScore(Logits(), splits=1)
            mine = [task for task in tasks if task.method.name == method.name]
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


def _installed() -> bool:
    from importlib.util import find_spec

    return find_spec("torchmetrics") is not None


@contextmanager
def _checked_script(path: Path) -> Iterator[None]:
    """Turn what PyTorch and torchmetrics raise on another file into an EvaluationError."""
    try:
        yield
    except Exception as error:  # another file, or a network with another interface
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise EvaluationError(
            f"{path} cannot be used as inception-2015-12-05.pt, NVIDIA's TorchScript of Inception: {reason}"
        ) from error
