"""Contact sheets: what the network makes of a few holes, to be looked at while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pconv.files import replacing
from pconv.nn.unet import PConvUNet, composite
from pconv.training.data import Batch

GAP = 4
HOLE_GREY = 255


@torch.no_grad()
def contact_sheet(network: PConvUNet, pictures: Tensor, valid: Tensor, device: torch.device) -> Image.Image:
    """A row for each picture: holed, output, composite, truth.

    Args:
        pictures: ``(B, 3, H, W)`` uint8.
        valid: ``(B, 1, H, W)`` bool.
    """
    was_training = network.training
    network.eval()
    truth = pictures.to(device).float() / 255
    valid = valid.to(device)
    output = network(truth, valid).clamp(0, 1)
    network.train(was_training)
    holed = composite(truth, torch.full_like(truth, HOLE_GREY / 255), valid)
    return _in_rows([holed, output, composite(truth, output, valid), truth])


def save_bad_batch(pieces: Sequence[Batch], out: Path, rank: int) -> Path:
    """Keep a batch for a look: its tensors (.pt), and a picture of them (the path that is returned)."""
    pictures = torch.cat([piece.pictures for piece in pieces])
    valid = torch.cat([piece.valid for piece in pieces])
    path = out / f"bad-batch-{rank}.png"
    with replacing(path.with_suffix(".pt")) as temporary:
        torch.save({"pictures": pictures, "valid": valid}, temporary)
    truth = pictures.float() / 255
    with replacing(path) as temporary:
        _in_rows([composite(truth, torch.full_like(truth, HOLE_GREY / 255), valid), truth]).save(temporary)
    return path


def _in_rows(columns: Sequence[Tensor]) -> Image.Image:
    row = torch.cat([torch.nn.functional.pad(c, (0, GAP, 0, GAP), value=1.0) for c in columns], dim=3)
    pixels = (row.permute(0, 2, 3, 1).flatten(0, 1) * 255).round().byte().cpu()
    return Image.fromarray(np.asarray(pixels))
