"""How good the network is while it trains: PSNR for each bin of hole ratios, on samples that stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pconv.errors import ImageFileError, TrainingError
from pconv.images.psnr import psnr
from pconv.images.reading import photo_size, some
from pconv.masks.strokes import RATIO_BINS, irregular_hole
from pconv.masks.superres import FACTORS
from pconv.nn.unet import PConvUNet, composite
from pconv.training.crops import Pixels, central_square, cut, decode, reduction_for
from pconv.training.data import Batch, DrawHole, Sample, stack, superres_sample, to_sample
from pconv.training.features import VGG16Features
from pconv.training.losses import gram_distance

HOLD_OUT_EVERY = 50
PER_BIN = 8
GRAM_POOLS = 2


def hold_out(photos: list[Path]) -> tuple[list[Path], list[Path]]:
    """Photos to train on, and every 50th, for validation; of fewer than 50, all serve for both."""
    if len(photos) < HOLD_OUT_EVERY:
        return photos, photos
    return [p for i, p in enumerate(photos) if i % HOLD_OUT_EVERY], photos[::HOLD_OUT_EVERY]


def validation_set(
    photos: Sequence[Path],
    size: int,
    seed: int,
    notes: list[str] | None = None,
    *,
    per_bin: int = PER_BIN,
    draw_hole: DrawHole = irregular_hole,
) -> list[Batch]:
    """A batch of ``per_bin`` central squares for each bin, with synthetic holes of that bin.

    Args:
        notes: gets a sentence on the photos that were tried and cannot be read.

    Raises:
        TrainingError: no photo can be read.
    """
    squares = _squares(photos, size, per_bin * len(RATIO_BINS), notes)

    def sample(bin_number: int, number: int) -> Sample:
        generator = np.random.default_rng([seed, 4, bin_number, number])
        pixels = squares[(bin_number + number * len(RATIO_BINS)) % len(squares)]
        return to_sample(pixels, draw_hole(size, size, RATIO_BINS[bin_number], generator=generator))

    return [stack([sample(b, n) for n in range(per_bin)]) for b in range(len(RATIO_BINS))]


def superres_set(photos: Sequence[Path], size: int, seed: int, notes: list[str] | None = None) -> list[Batch]:
    """A batch of central squares for each factor of super-resolution; otherwise as ``validation_set``."""
    squares = _squares(photos, size, 2 * PER_BIN, notes)
    return [stack([superres_sample(pixels, factor) for pixels in squares]) for factor in FACTORS]


def _squares(photos: Sequence[Path], size: int, wanted: int, notes: list[str] | None) -> list[Pixels]:
    """Central squares ``(size, size, 3)`` of up to ``wanted`` photos, spread over all.

    Args:
        notes: gets a sentence on the photos that were tried and cannot be read.

    Raises:
        TrainingError: no photo can be read.
    """
    squares: list[Pixels] = []
    unreadable: dict[str, None] = {}
    step = max(len(photos) // wanted, 1)
    for path in [*photos[::step], *photos[1::step]]:
        try:
            height, width = photo_size(path)
            square = central_square(height, width)
            squares.append(cut(decode(path, (height, width), reduction_for(square.side, size)), square, size))
        except ImageFileError as error:
            unreadable[str(error)] = None
        if len(squares) == wanted:
            break
    if not squares:
        raise TrainingError(
            f"none of the {len(photos)} photos for validation can be read as an image: {next(iter(unreadable))}"
        )
    if unreadable and notes is not None:
        notes.append(f"left out of the validation ({len(unreadable)}): {some(list(unreadable), '; ')}")
    return squares


class Figures(NamedTuple):
    """Attributes:
    psnr: mean PSNR of the composites of each bin, dB.
    gram: mean Gram distance inside the hole (``pconv.training.losses.gram_distance``); None without VGG-16.
    """

    psnr: list[float]
    gram: float | None


@torch.no_grad()
def measured_by_bin(
    network: PConvUNet, batches: Sequence[Batch], device: torch.device, vgg: VGG16Features | None = None
) -> Figures:
    """How good the composites of each batch are, or its outputs for super-resolution, in fp32, evaluation mode."""
    was_training = network.training
    network.eval()
    levels: list[float] = []
    grams: list[float] = []
    for batch in batches:
        truth, valid = batch.images.to(device).float() / 255, batch.valid.to(device)
        if batch.seen is None:
            filled = composite(truth, network(truth, valid).clamp(0, 1), valid)
        else:
            filled = network(batch.seen.to(device).float() / 255, valid).clamp(0, 1)
        pairs = zip(filled.cpu().numpy(), truth.cpu().numpy(), strict=True)
        levels.append(float(np.mean([psnr(image, true_image, peak=1.0) for image, true_image in pairs])))
        if vgg is not None:
            features, truth_features = vgg(filled, GRAM_POOLS), vgg(truth, GRAM_POOLS)
            grams.append(gram_distance(features, truth_features, (~valid).float()).nanmean().item())
    network.train(was_training)
    return Figures(levels, float(np.nanmean(grams)) if grams else None)
