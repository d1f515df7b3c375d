"""Networks like trained ones, and real photos to fill."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from pconv import PConvUNet

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def some_net(config):
    """A network whose batch norms scale and shift, as trained ones do."""
    net = PConvUNet(config)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.5)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


def photo_and_hole(name, height, width):
    """``(1, 3, H, W)`` float in 0..1 and ``(1, 1, H, W)`` bool, cropped from the middle."""
    photo = np.asarray(Image.open(PHOTOS / f"{name}.jpg").convert("RGB"))
    hole = np.asarray(Image.open(PHOTOS / f"{name}-mask.png").convert("L")) > 127
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    photo, hole = (x[top : top + height, left : left + width] for x in (photo, hole))
    return torch.tensor(photo).permute(2, 0, 1)[None].float() / 255, torch.tensor(hole)[None, None]
