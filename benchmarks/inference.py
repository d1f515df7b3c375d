"""Which form of the network fills fastest, and how far is it from what the machine can do?

    python benchmarks/inference.py                  # the paper network, 512 px, batch 1
    python benchmarks/inference.py --compiled       # torch.compile too (half a minute more)
    python benchmarks/inference.py --bf16           # also where it is only emulated
    python benchmarks/inference.py --device cuda --batch 8 --bf16 --compiled

All in one process, interleaved, medians; ratios to the same network with plain convolutions in eager fp32, as PyTorch
lays it out by default. Following the holes is part of every time. GFLOP/s count the multiplications of the phase
form; the limit is a matrix product of 2048 x 2048. A JSON line comes last.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from common import PlainUNet, block_holes, finish, interleaved, machine, show
from torch import Tensor

from pconv import PRESETS, PConvUNet, UNetConfig
from pconv.inpainting.backends import OnnxRuntimeBackend, OpenVinoBackend, installed
from pconv.nn.fused import UNPHASED, FusedUNet
from pconv.nn.onnx_export import save_onnx


def multiplications(config: UNetConfig, size: int, phased: bool) -> float:
    """Multiply-adds of one ``size`` x ``size`` picture, the multiple already."""
    inputs = (config.in_channels, *config.channels[:-1])
    total = 0.0
    levels = list(enumerate(zip(inputs, config.channels, config.kernels, strict=True)))
    for level, (c_in, c_out, kernel) in levels:
        total += c_in * c_out * kernel**2 * (size / 2 ** (level + 1)) ** 2
        inner = len(levels) - 1 - level
        below = 4 if phased and inner >= UNPHASED else 9
        out = c_in if level else config.in_channels
        total += (below * c_out + 9 * c_in) * out * (size / 2**level) ** 2
    return total


def limit() -> float:
    """GFLOP/s of a large matrix product in fp32."""
    a = torch.rand(2048, 2048)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / statistics.median(seconds) / 1e9


@click.command()
@click.option("--quick", is_flag=True, help="256 px and fewer repeats.")
@click.option("--size", type=int, help="512, or 256 with --quick.")
@click.option("--batch", default=1, show_default=True)
@click.option("--repeats", type=int, help="11, or 3 with --quick.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--bf16", is_flag=True)
@click.option("--compiled", is_flag=True)
def main(
    quick: bool, size: int | None, batch: int, repeats: int | None, device: str, bf16: bool, compiled: bool
) -> None:
    size, repeats = size or (256 if quick else 512), repeats or (3 if quick else 11)
    torch.manual_seed(0)
    network = PConvUNet(PRESETS["paper"]).eval()
    network.requires_grad_(False).to(device)
    last = torch.channels_last
    image, valid = torch.rand(batch, 3, size, size, device=device), block_holes(batch, size).to(device)
    by_hand = PlainUNet(network).eval().to(device)
    plain_last = PlainUNet(network).eval().to(device, memory_format=last)
    eager_last = PConvUNet(network.config).eval().to(device, memory_format=last)
    eager_last.load_state_dict(network.state_dict())
    fused = FusedUNet(network).to(device)
    image_last = image.contiguous(memory_format=last)

    def compile_(net: FusedUNet) -> FusedUNet:
        import torch._inductor.config as inductor

        inductor.freezing = True  # weights are laid out once, for good
        net.run = torch.compile(net.run, fullgraph=True)  # type: ignore[method-assign]
        return net

    forms: dict[str, Callable[[], object]] = {
        "plain convolutions": lambda: by_hand(image),
        "plain, channels last": lambda: plain_last(image_last),
        "eager": lambda: eager_last(image_last, valid),
        "fused": lambda: fused(image, valid),
    }
    if compiled:
        fast = compile_(FusedUNet(network).to(device))
        forms["fused, compiled"] = lambda: fast(image, valid)
    if bf16:
        half = FusedUNet(network, torch.bfloat16).to(device)
        forms["fused bf16"] = lambda: half(image, valid)
        if compiled:
            half_fast = compile_(FusedUNet(network, torch.bfloat16).to(device))
            forms["fused bf16, compiled"] = lambda: half_fast(image, valid)
    if device == "cpu":
        pictures, holes = image.numpy(), ~valid.numpy()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            save_onnx(network, path, {})
            runtime = OnnxRuntimeBackend(path)
            forms["ONNX Runtime"] = lambda: runtime.fill(pictures, holes)
            if installed("openvino"):
                vino = OpenVinoBackend(path, precision="fp32")
                forms["OpenVINO"] = lambda: vino.fill(pictures, holes)
                if bf16:
                    vino_half = OpenVinoBackend(path, precision="bf16")
                    forms["OpenVINO bf16"] = lambda: vino_half.fill(pictures, holes)

    def waited(run: Callable[[], object]) -> Callable[[], None]:
        def done() -> None:
            run()
            if device.startswith("cuda"):
                torch.cuda.synchronize()

        return done

    with torch.inference_mode():
        expected: Tensor = eager_last(image_last, valid)
        different = ((fused(image, valid) - expected).abs().max() / (expected.max() - expected.min())).item()
        seconds = interleaved({name: waited(run) for name, run in forms.items()}, repeats)

    most = limit() if device == "cpu" else float("nan")
    padded = int(np.ceil(size / network.config.multiple) * network.config.multiple)
    work = {phased: multiplications(network.config, padded, phased) * batch / 1e9 for phased in (False, True)}
    base, base_last = seconds["plain convolutions"], seconds["plain, channels last"]
    rows = {}
    for name, s in seconds.items():
        rate = 2 * work[not name.startswith("plain")] / s
        rows[name] = {
            "ms": f"{s * 1e3:.0f}",
            "ratio": f"{s / base:.2f}",
            "to channels last": f"{s / base_last:.2f}",
            "GFLOP/s": f"{rate:.0f}",
            "of the limit": f"{rate / most:.0%}",
        }
    show(rows, f"paper network, {batch} x {size} x {size}, {device}, {machine()}")
    print(f"\n{work[False]:.2f} GMAC, {work[True]:.2f} in phase form; limit {most:.0f} GFLOP/s in fp32")
    print(f"fused and eager differ by {different:.1e} of the output's range")
    ratios = {name: round(s / base, 3) for name, s in seconds.items()}
    finish({"size": size, "batch": batch, "seconds": seconds, "ratios": ratios})


if __name__ == "__main__":
    main()
