"""What does one partial convolution cost? PartialConv2d against nn.Conv2d, at layers of the paper network.

    python benchmarks/layer.py               # forward; forward + backward
    python benchmarks/layer.py --nvidia DIR  # beside a checkout of NVIDIA/partialconv, multi-channel as a U-Net needs

Eager fp32, channels last, one process, interleaved; medians and ratios to nn.Conv2d. A JSON line comes last.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import torch
from common import block_holes, finish, interleaved, load_nvidia, machine, show
from torch import Tensor, nn

from pconv import PartialConv2d

LAYERS = {"enc 1": (3, 64, 7, 2, 512), "enc 3": (128, 256, 5, 2, 128), "dec 2": (192, 64, 3, 1, 256)}
"""Channels in and out, kernel, stride, side of the input at 512 px."""


def forward(layer: nn.Module, *given: Tensor) -> Callable[[], Tensor]:
    def run() -> Tensor:
        result = layer(*given)
        return result if isinstance(result, Tensor) else result[0]

    return run


def and_back(run: Callable[[], Tensor]) -> Callable[[], None]:
    return lambda: run().sum().backward()


@click.command()
@click.option("--quick", is_flag=True, help="Half the size and fewer repeats.")
@click.option("--repeats", type=int, help="15, or 5 with --quick.")
@click.option("--nvidia", type=click.Path(path_type=Path, exists=True), help="A checkout of NVIDIA/partialconv.")
def main(quick: bool, repeats: int | None, nvidia: Path | None) -> None:
    torch.manual_seed(0)
    rows: dict[str, dict[str, str]] = {}
    ratios: dict[str, dict[str, float]] = {}
    for name, (c_in, c_out, kernel, stride, side) in LAYERS.items():
        side = side // 2 if quick else side
        shape = {"stride": stride, "padding": kernel // 2}
        layers: dict[str, nn.Module] = {"Conv2d": nn.Conv2d(c_in, c_out, kernel, **shape)}
        layers["PartialConv2d"] = PartialConv2d(c_in, c_out, kernel, **shape)
        if nvidia:
            layers["NVIDIA"] = load_nvidia(nvidia)(
                c_in, c_out, kernel, multi_channel=True, return_mask=True, **shape
            )  # fmt: skip
        for layer in layers.values():
            layer.to(memory_format=torch.channels_last)
        features = torch.rand(1, c_in, side, side).contiguous(memory_format=torch.channels_last)
        valid = block_holes(1, side)
        mask = valid.expand(-1, c_in, -1, -1).float()
        inputs = {"Conv2d": (features,), "PartialConv2d": (features, valid), "NVIDIA": (features, mask)}

        runs = {kind: forward(layer, *inputs[kind]) for kind, layer in layers.items()}
        times = repeats or (5 if quick else 15)
        with torch.inference_mode():
            measured = {f"{name} forward": interleaved(runs, times)}
        backward = {kind: and_back(run) for kind, run in runs.items()}
        measured[f"{name} forward + backward"] = interleaved(backward, times)
        for what, seconds in measured.items():
            ratios[what] = {kind: round(s / seconds["Conv2d"], 3) for kind, s in seconds.items()}
            rows[what] = {kind: f"{s * 1e3:.1f} ms ({ratios[what][kind]:.2f})" for kind, s in seconds.items()}
    show(rows, f"one layer, batch 1, eager fp32, {machine()}")
    finish({"ratios": ratios})


if __name__ == "__main__":
    main()
