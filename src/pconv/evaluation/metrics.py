"""How far a filled photo is from the truth: pure functions of two images (Liu et al., section 4.2).

Images are ``(H, W, 3)`` uint8, a hole is ``(H, W)`` bool, True = hole. With ``hole`` a metric is of the hole alone.
PSNR is ``pconv.images.psnr.psnr``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from pconv.training.features import VGG16Features

Pixels = NDArray[np.uint8]
Hole = NDArray[np.bool_]

SSIM_SIGMA, SSIM_REACH = 1.5, 5
"""The Gaussian window of Wang et al. 2004: 11 x 11, sigma 1.5; K1 = 0.01 and K2 = 0.03 are scikit-image's defaults."""


def l1_percent(image: Pixels, truth: Pixels, hole: Hole | None = None) -> float:
    """Mean absolute difference of all channels, in % of the value range (0 is equal, 100 the most)."""
    return float(_mean(np.abs(_difference(image, truth)), hole) / 255 * 100)


def ssim_map(image: Pixels, truth: Pixels) -> NDArray[np.float64]:
    """Structural similarity around each pixel, ``(H, W)``, mean of the channels, 1 = equal.

    Raises:
        ValueError: a side is shorter than the window's 11 px.
    """
    from skimage import metrics as skimage_metrics

    similarity: Any = skimage_metrics.structural_similarity
    _, values = similarity(
        truth, image, channel_axis=2, gaussian_weights=True, sigma=SSIM_SIGMA, use_sample_covariance=False,
        data_range=255, full=True,
    )  # fmt: skip
    channels: NDArray[np.float64] = values
    return np.asarray(channels.mean(axis=2))


def mean_ssim(values: NDArray[np.float64], hole: Hole | None = None) -> float:
    """The mean of ``ssim_map`` where the window lies inside the image, as scikit-image takes it; over the hole
    alone, of all its pixels."""
    if hole is not None:
        return float(values[hole].mean())
    return float(values[SSIM_REACH:-SSIM_REACH, SSIM_REACH:-SSIM_REACH].mean())


def sharpness(image: Pixels, truth: Pixels, hole: Hole) -> float:
    """Detail in the hole over the detail that was there: the sum of |dx| + |dy| of the channel mean over hole pixels,
    of ``image`` over that of ``truth``.

    1 is as much detail as there was, and 0 is flat; NaN where the truth is flat. It describes a fill and is no
    quality: noise raises it. Differences are forward, and 0 in the last column and row.
    """
    was = _detail(truth, hole)
    return _detail(image, hole) / was if was else float("nan")


def vgg_features(vgg: VGG16Features, image: Pixels) -> list[Tensor]:
    """What each pool of ``vgg`` makes of an image."""
    import torch

    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        features: list[Tensor] = vgg(pixels)
    return features


def vgg_distance(image: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """The sum over the pools of the mean |Psi_p(image) - Psi_p(truth)|, of two ``vgg_features``; 0 is equal."""
    from pconv.training.losses import perceptual_loss

    return float(perceptual_loss(image, truth))


def gram_distance(image: Sequence[Tensor], truth: Sequence[Tensor], hole: Hole) -> float:
    """The distance of the Gram matrices inside the hole, of two ``vgg_features``: the sum over the pools of
    sum |G_image - G_truth| / sum |G_truth|. Blurring the truth raises it, and so does noise on the truth.

    G = (f w)(f w)^T, for features f ``(channels, positions)`` and the hole w, averaged down to their size.

    Returns:
        0 where they are equal, and more the further they are apart; NaN where a pool of the truth is 0 in the hole.
    """
    import torch

    from pconv.training import losses

    return float(losses.gram_distance(image, truth, torch.from_numpy(hole)[None, None].float()))


def _difference(image: Pixels, truth: Pixels) -> NDArray[np.float64]:
    if image.shape != truth.shape:
        raise ValueError(f"images must be of one size, got {image.shape} and {truth.shape}")
    return image.astype(np.float64) - truth


def _mean(values: NDArray[np.float64], hole: Hole | None) -> float:
    return float(values.mean() if hole is None else values[hole].mean())


def _detail(image: Pixels, hole: Hole) -> float:
    grey = image.mean(axis=2, dtype=np.float64)
    dx = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    dy = np.abs(np.diff(grey, axis=0, append=grey[-1:]))
    return float((dx + dy)[hole].sum())
