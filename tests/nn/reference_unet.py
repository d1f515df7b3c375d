"""The default model's network in plain PyTorch, to compare :class:`pconv.PConvUNet` with.

The network is that of ``reference.py``, from the scripts that trained the default model, with its lines wrapped. It
shares no code with pconv, and stays as it is when pconv changes. :func:`reference_of` gives it the weights of ours.

image (B, 3, H, W) in 0..1, valid (B, 1, H, W) with 1 = known, surface (B, 3, H, W): the smooth surface through the
known pixels. H and W are multiples of 2^depth. ``seed``, 0 to 63, chooses among the fills. The output is neither
clipped nor composited.
"""

import torch
import torch.nn.functional as F
from torch import nn


def count(valid, kernel, stride):
    """How many pixels under each window are known."""
    return F.avg_pool2d(valid, kernel, stride, kernel // 2, divisor_override=1)


def renormalise(total, known):
    """Partial convolution's factor (0 where nothing is known) and its new mask."""
    new = (known > 0).to(known.dtype)
    return new * total / known.clamp(min=1e-3), new


def tiled(tile, height, width, seed):
    """(height, width) of the (64, 64) noise tile, shifted by the seed, repeated from the photo's top left corner."""
    tile = tile.roll((-23 * seed % 64, -41 * seed % 64), (0, 1))
    return tile.repeat(-(-height // 64), -(-width // 64))[:height, :width]


class Partial(nn.Module):
    """Partial convolution, then batch normalisation (or a bias where there is none). Padding counts as hole."""

    def __init__(self, inputs, outputs, kernel, stride=1, norm=True):
        super().__init__()
        self.stride, self.kernel = stride, kernel
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, kernel, kernel))
        self.norm = nn.BatchNorm2d(outputs) if norm else None
        self.bias = None if norm else nn.Parameter(torch.zeros(outputs))

    def forward(self, x, valid):
        factor, new = renormalise(self.kernel**2, count(valid, self.kernel, self.stride))
        y = F.conv2d(x, self.weight, None, self.stride, self.kernel // 2) * factor
        return (self.norm(y) if self.norm else y + self.bias.view(1, -1, 1, 1) * new), new


class Up(nn.Module):
    """Decoder step: nearest x2 of what is below, skip beside it, one 3x3 partial convolution over both.

    Here the known pixels are counted per channel group: `below` channels with the mask from below, `skip` channels
    with the encoder's mask, `extra` channels (surface and mask) always known.
    """

    def __init__(self, below, skip, extra, outputs, norm=True):
        super().__init__()
        self.below, self.skip, self.extra = below, skip, extra
        self.weight = nn.Parameter(torch.zeros(outputs, below + skip + extra, 3, 3))
        self.norm = nn.BatchNorm2d(outputs) if norm else None
        self.bias = None if norm else nn.Parameter(torch.zeros(outputs))

    def forward(self, below, below_valid, skip, skip_valid):
        up, up_valid = (F.interpolate(t, scale_factor=2, mode="nearest") for t in (below, below_valid))
        known = count(up_valid * self.below + skip_valid * self.skip + self.extra, 3, 1)
        factor, new = renormalise(9 * (self.below + self.skip + self.extra), known)
        y = F.conv2d(torch.cat([up, skip], 1), self.weight, None, 1, 1) * factor
        return (self.norm(y) if self.norm else y + self.bias.view(1, -1, 1, 1) * new), new


class Block(nn.Module):
    """x + partial(leaky(partial(x) + noise))."""

    def __init__(self, channels):
        super().__init__()
        self.a, self.b = Partial(channels, channels, 3), Partial(channels, channels, 3)

    def forward(self, x, valid, noise=0):
        y, valid = self.a(x, valid)
        y = y + noise
        y, valid = self.b(F.leaky_relu(y, 0.1) * valid, valid)
        return x + y * valid, valid


class Network(nn.Module):
    """channels, kernels: of the encoder's levels (stride 2 each). blocks[i]: residual blocks in the decoder at
    1 / 2 ** (i + 1) of the size. surface_levels: at which of these sizes (l means 1 / 2 ** l) surface and mask join
    the skip, pixel-unshuffled. noise_levels: at 1/2 .. 1 / 2 ** noise_levels of the size, normal noise is added after
    the Up step and inside each block, where there is hole, times a strength per channel (`strength["l_0"]` after Up,
    `strength["l_j"]` in block j = 1, 2, ...). At inference the noise comes from fixed tiles (`noise`, one per
    strength, in the order of the levels), so that a fill can be repeated."""

    def __init__(self, channels, kernels, blocks, surface_levels, noise_levels=0):
        super().__init__()
        self.surface_levels, self.noise_levels = tuple(surface_levels), noise_levels
        places = [(level, j) for level in range(1, noise_levels + 1) for j in range(1 + blocks[level - 1])]
        self.places = {f"{level}_{j}": index for index, (level, j) in enumerate(places)}
        self.strength = nn.ParameterDict(
            {f"{level}_{j}": nn.Parameter(torch.zeros(channels[level - 1])) for level, j in places}
        )
        self.register_buffer("noise", torch.zeros(len(places), 64, 64))
        inputs = [3, *channels[:-1]]
        self.enc = nn.ModuleList(
            Partial(i, o, k, 2, norm=level > 0)
            for level, (i, o, k) in enumerate(zip(inputs, channels, kernels, strict=True))
        )
        self.dec, self.res = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(1, len(channels))):
            extra = 4 * 4**level if level in self.surface_levels else 0
            self.dec.append(Up(channels[level], channels[level - 1], extra, channels[level - 1]))
            self.res.append(nn.ModuleList(Block(channels[level - 1]) for _ in range(blocks[level - 1])))
        self.dec.append(Up(channels[0], 0, 4, 3, norm=False))  # at full size the skip is surface and mask alone
        self.res.append(nn.ModuleList())

    def noise_at(self, level, j, valid, seed):
        """(B, C, h, w) to add at `level`; `valid` is the photo's, at full size."""
        name = f"{level}_{j}"
        if name not in self.places:
            return 0
        share = F.avg_pool2d(1 - valid, 2**level)
        tile = tiled(self.noise[self.places[name]], *share.shape[2:], seed)
        return share * tile * self.strength[name].view(1, -1, 1, 1)

    def forward(self, image, valid, surface, seed=0):
        guide = torch.cat([(surface - 0.5) * 4, valid - 0.5], 1)
        x, mask, skips = (image - 0.5) * 4 * valid, valid, []
        for layer in self.enc:
            y, mask = layer(x, mask)
            x = F.leaky_relu(y, 0.1) * mask
            skips.append((x, mask))
        skips.pop()
        steps = zip(reversed(range(len(self.dec))), self.dec, self.res, strict=True)
        for level, up, blocks in steps:
            if level == 0:
                return surface + up(x, mask, guide, torch.zeros_like(valid))[0] / 4
            skip, skip_mask = skips.pop()
            if level in self.surface_levels:
                skip = torch.cat([skip, F.pixel_unshuffle(guide, 2**level)], 1)
            y, mask = up(x, mask, skip, skip_mask)
            x = F.leaky_relu(y + self.noise_at(level, 0, valid, seed), 0.1) * mask
            for j, block in enumerate(blocks, 1):
                x, mask = block(x, mask, self.noise_at(level, j, valid, seed))
        raise AssertionError("level 0 returns")


def our_name(name, depth):
    """What PConvUNet of ``depth`` levels calls the reference's parameter or buffer ``name``."""
    part, index, *rest = name.split(".")
    if part == "strength":
        level, j = index.split("_")
        return noise_input(depth, int(level), int(j)) + ".strength"
    if part == "res":
        block, half, *rest = rest
        ours = {"a": "first", "b": "second"}[half]
        where = f"decoder.{index}.blocks.{block}.{ours}"
        return f"{where}_norm.{rest[1]}" if rest[0] == "norm" else f"{where}.{rest[0]}"
    where = {"enc": "encoder", "dec": "decoder"}[part]
    return f"{where}.{index}." + (".".join(rest) if rest[0] == "norm" else f"conv.{rest[0]}")


def noise_input(depth, level, j):
    """Our name for the noise input behind the decoder step at ``level`` (j is 0), or in its block number j."""
    return f"decoder.{depth - 1 - level}." + (f"blocks.{j - 1}." if j else "") + "noise"


def reference_of(network):
    """The reference network with the weights and the noise of ``network``, a PConvUNet, in its mode."""
    config, ours = network.config, network.state_dict()
    depth = len(config.channels)
    blocks = (*config.blocks, *[0] * (depth - len(config.blocks)))
    net = Network(config.channels, config.kernels, blocks, config.surface_levels, config.noise_levels)
    places = [place.split("_") for place in net.places]
    tiles = [ours[noise_input(depth, int(level), int(j)) + ".tile"] for level, j in places]
    state = {name: ours[our_name(name, depth)] for name in net.state_dict() if name != "noise"}
    net.load_state_dict(state | {"noise": torch.stack(tiles) if tiles else torch.zeros(0, 64, 64)})
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in network.parameters())
    return net.train(network.training)
