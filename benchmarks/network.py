"""What does partial convolution cost? The whole paper network against the same network with plain convolutions.

    python benchmarks/network.py            # 512 px, batch 1: forward; forward + backward
    python benchmarks/network.py --quick    # 256 px, fewer repeats
    python benchmarks/network.py --port DIR # beside a checkout of naoto0804/pytorch-inpainting-with-partial-conv

Eager fp32, channels last, all in one process and interleaved; medians and ratios to the plain network. "layer by
layer" is PartialConv2d in place of Conv2d and nothing else; "phases" is PConvUNet as shipped. A JSON line comes last.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv import PRESETS, PConvUNet
from pconv.nn.unet import LEAKY_SLOPE


class PlainUNet(nn.Module):
    """The paper's network with nn.Conv2d: the same channels, kernels, norms and skips, and no validity anywhere."""

    def __init__(self, like: PConvUNet) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(nn.ModuleList([plain(level.conv), level.norm]) for level in like.encoder)
        self.decoder = nn.ModuleList(nn.ModuleList([plain(level.conv), level.norm]) for level in like.decoder)

    def forward(self, features: Tensor) -> Tensor:
        skips = []
        for conv, norm in self.encoder:
            skips.append(features)
            features = F.relu(norm(conv(features)))
        for conv, norm in self.decoder:
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = conv(torch.cat([features, skips.pop()], 1))
            features = F.leaky_relu(norm(features), LEAKY_SLOPE) if skips else features
        return features


def plain(conv: nn.Conv2d) -> nn.Conv2d:
    return nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None
    )


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
        features = F.leaky_relu(level.norm(features), LEAKY_SLOPE) if skips else features
    return features


def load_port(folder: Path) -> nn.Module:
    """naoto0804's network (7 levels by default; 8 here, to compare like with like)."""
    spec = importlib.util.spec_from_file_location("port_net", folder / "net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["torchvision"] = sys.modules["torchvision.models"] = type(sys)("models")  # its VGG is not used here
    sys.modules["torchvision"].models = sys.modules["torchvision.models"]  # type: ignore[attr-defined]
    spec.loader.exec_module(module)
    port: nn.Module = module.PConvUNet(layer_size=8)
    return port


def interleaved(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, one after the other in turn, after one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(repeats + 1):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if round_number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


@click.command()
@click.option("--quick", is_flag=True, help="256 px and fewer repeats.")
@click.option("--size", type=int, help="Side in px; 512, or 256 with --quick.")
@click.option("--batch", default=1, show_default=True)
@click.option("--repeats", type=int, help="9, or 3 with --quick.")
@click.option("--port", type=click.Path(path_type=Path, exists=True), help="A checkout of naoto0804's port.")
def main(quick: bool, size: int | None, batch: int, repeats: int | None, port: Path | None) -> None:
    size, repeats = size or (256 if quick else 512), repeats or (3 if quick else 9)
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

    machine = f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"paper network, {batch} x {size} x {size}, eager fp32, {machine}\n")
    print(f"{'':<20}" + "".join(f"{name:>24}" for name in nets))
    for what, seconds in result.items():
        cells = (f"{s * 1e3:.0f} ms ({s / seconds['plain']:.2f})" for s in seconds.values())
        print(f"{what:<20}" + "".join(f"{cell:>24}" for cell in cells))
    ratios = {
        what: {name: round(s / seconds["plain"], 3) for name, s in seconds.items()} for what, seconds in result.items()
    }
    print(json.dumps({"machine": machine, "size": size, "batch": batch, "ratios": ratios}))


if __name__ == "__main__":
    main()
