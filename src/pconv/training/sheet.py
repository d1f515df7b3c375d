"""Contact sheets: what the network makes of a few holes, to be looked at while it trains."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pconv.nn.unet import PConvUNet, composite

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
    columns = [holed, output, composite(truth, output, valid), truth]
    row = torch.cat([torch.nn.functional.pad(c, (0, GAP, 0, GAP), value=1.0) for c in columns], dim=3)
    pixels = (row.permute(0, 2, 3, 1).flatten(0, 1) * 255).round().byte().cpu()
    return Image.fromarray(np.asarray(pixels))
