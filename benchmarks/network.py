"""What does partial convolution cost? The whole paper network against the same network with plain convolutions.

    python benchmarks/network.py            # 512 px, batch 1: forward; forward + backward
    python benchmarks/network.py --quick    # 256 px, fewer repeats
    python benchmarks/network.py --port DIR # beside a checkout of naoto0804/pytorch-inpainting-with-partial-conv

Eager fp32, channels last, all in one process and interleaved; medians and ratios to the plain network. "layer by
layer" is PartialConv2d in place of Conv2d and nothing else; "phases" is PConvUNet as shipped. A JSON line comes last.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from common import PlainUNet, finish, interleaved, load_port, machine, show
from torch import Tensor, nn

from pconv import PRESETS, PConvUNet


def layer_by_layer(net: PConvUNet, features: Tensor, valid: Tensor) -> Tensor:
    """PConvUNet's weights, with upsampling and concatenation as the paper draws them."""
    skips = []
    for level in net.encoder:
        skips.append((features, valid))
        features, valid = level.conv(features, valid)
        features = F.relu(level.norm(features))
    for level in net.decoder:
        skip, skip_valid = skips.pop()
        features = F.interpolate(features, scale_factor=2, mode="nearest")
        valid = valid.repeat_interleave(2, 2).repeat_interleave(2, 3)
        groups = [(valid, features.shape[1]), (skip_valid, skip.shape[1])]
        features, valid = level.conv(torch.cat([features, skip], 1), groups)
        features = F.leaky_relu(level.norm(features), 0.2) if skips else features
    return features


@click.command()
@click.option("--quick", is_flag=True, help="256 px and fewer repeats.")
@click.option("--size", type=int, help="Side in px; 512, or 256 with --quick.")
@click.option("--batch", type=int, help="1, or 2 with --quick, since batch norm needs more than one value.")
@click.option("--repeats", type=int, help="9, or 3 with --quick.")
@click.option("--port", type=click.Path(path_type=Path, exists=True), help="A checkout of naoto0804's port.")
def main(quick: bool, size: int | None, batch: int | None, repeats: int | None, port: Path | None) -> None:
    size, repeats = size or (256 if quick else 512), repeats or (3 if quick else 9)
    batch = batch or (2 if quick else 1)
    torch.manual_seed(0)
    net = PConvUNet(PRESETS["paper"]).to(memory_format=torch.channels_last)
    plain_net = PlainUNet(net).to(memory_format=torch.channels_last)
    image = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    valid = torch.rand(batch, 1, size // 16, size // 16).repeat_interleave(16, 2).repeat_interleave(16, 3) > 0.25
    nets: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: plain_net(image),
        "layer by layer": lambda: layer_by_layer(net, image, valid),
        "phases": lambda: net(image, valid),
    }
    modules: list[nn.Module] = [plain_net, net]
    if port:
        port_net = load_port(port)
        modules.append(port_net)
        mask = valid.expand(-1, 3, -1, -1).float()
        nets["port"] = lambda: port_net(image * mask, mask)[0]

    def backward(run: Callable[[], Tensor]) -> Callable[[], None]:
        return lambda: (run() - image).abs().mean().backward()

    result: dict[str, dict[str, float]] = {}
    for module in modules:
        module.eval()
    with torch.inference_mode():
        result["forward"] = interleaved(nets, repeats)
    for module in modules:
        module.train()
    result["forward + backward"] = interleaved({name: backward(run) for name, run in nets.items()}, repeats)

    ratios = {
        what: {name: round(s / seconds["plain"], 3) for name, s in seconds.items()} for what, seconds in result.items()
    }
    rows = {
        what: {name: f"{s * 1e3:.0f} ms ({ratios[what][name]:.2f})" for name, s in seconds.items()}
        for what, seconds in result.items()
    }
    show(rows, f"paper network, {batch} x {size} x {size}, eager fp32, {machine()}")
    finish({"size": size, "batch": batch, "ratios": ratios})


if __name__ == "__main__":
    main()
