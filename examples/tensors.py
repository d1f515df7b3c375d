"""A batch of torch tensors, (B, C, H, W) in 0..1, on any device; the same comes back. Needs the extra torch."""

import torch

from pconv import Inpainter

generator = torch.Generator().manual_seed(0)
ramps = torch.linspace(0, 1, 96).expand(4, 3, 64, 96) * torch.rand(4, 3, 1, 1, generator=generator)
holes = torch.zeros(4, 1, 64, 96, dtype=torch.bool)
holes[:, :, 24:40, 40:52] = True  # True = fill

filled = Inpainter()(ramps, holes)

assert filled.shape == ramps.shape
known = ~holes.expand_as(filled)
assert torch.equal(filled[known], ramps[known])
error = (filled - ramps).abs()[holes.expand_as(filled)].mean()
print(f"filled {tuple(filled.shape)} on {filled.device}; mean error {error:.3f} of the range")
