"""What the network makes of a few holes, as images to look at while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pconv.files import replacing
from pconv.nn.unet import PConvUNet, composite
from pconv.report.sheet import in_rows
from pconv.training.data import Batch


@torch.no_grad()
def contact_sheet(
    network: PConvUNet, images: Tensor, valid: Tensor, device: torch.device, seen: Tensor
) -> Image.Image:
    """A row for each image: its holes in white, the output, the composite, the truth.

    Args:
        images: ``(B, 3, H, W)`` uint8.
        valid: ``(B, 1, H, W)`` bool.
        seen: ``(B, 3, H, W)`` uint8, what the network sees: the images, but for super-resolution.
    """
    was_training = network.training
    network.eval()
    truth = images.to(device).float() / 255
    known, valid = seen.to(device).float() / 255, valid.to(device)
    output = network(known, valid).clamp(0, 1)
    network.train(was_training)
    return _columns([_with_white_holes(known, valid), output, composite(known, output, valid), truth])


def save_bad_batch(micro_batches: Sequence[Batch], out: Path, rank: int) -> Path:
    """Keep a batch for a look: its tensors (.pt), and an image of them, whose path is returned."""
    images = torch.cat([batch.images for batch in micro_batches]).cpu()
    valid = torch.cat([batch.valid for batch in micro_batches]).cpu()
    seen = torch.cat([batch.shown for batch in micro_batches]).cpu()
    path = out / f"bad-batch-{rank}.png"
    with replacing(path.with_suffix(".pt")) as temporary:
        torch.save({"images": images, "valid": valid, "seen": seen}, temporary)
    with replacing(path) as temporary:
        _columns([_with_white_holes(seen.float() / 255, valid), images.float() / 255]).save(temporary)
    return path


def _with_white_holes(truth: Tensor, valid: Tensor) -> Tensor:
    return composite(truth, torch.ones_like(truth), valid)


def _columns(columns: Sequence[Tensor]) -> Image.Image:
    pixels = [(column.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy() for column in columns]
    return in_rows([[Image.fromarray(image) for image in row] for row in zip(*pixels, strict=True)])
