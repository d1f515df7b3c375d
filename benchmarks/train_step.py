"""What does a training step cost? Forward, all of the paper's losses, backward and optimiser, of the paper network.

    python benchmarks/train_step.py                         # 256 px, batch 2
    python benchmarks/train_step.py --port DIR              # beside naoto0804/pytorch-inpainting-with-partial-conv
    python benchmarks/train_step.py --device cuda --precision bf16 --compile --port DIR
    python benchmarks/train_step.py --profile               # and the operators that take most of our step

Ours channels last and in --precision, the port as it comes, in fp32; interleaved, medians. VGG-16 has random weights,
pool1 to pool3, in both: this measures speed only. A JSON line comes last.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import click
import torch
from common import interleaved, processor
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from pconv import PRESETS, PConvUNet
from pconv.training.features import VGG16Features
from pconv.training.losses import InpaintingLoss, LossWeights

LR = 2e-4
PORTS_WEIGHTS = {"valid": 1.0, "hole": 6.0, "tv": 0.1, "prc": 0.05, "style": 120.0}
PORTS_MULTIPLE = 2**8
PROFILED_OPERATORS = 12

Step = Callable[[], None]


def our_step(truth: Tensor, valid: Tensor, precision: str, compiled: bool) -> Step:
    """A step as pconv's training loop takes it."""
    device = truth.device
    net = PConvUNet(PRESETS["paper"]).to(device, memory_format=torch.channels_last)
    vgg = VGG16Features(3).to(device, memory_format=torch.channels_last)
    loss_of = InpaintingLoss(LossWeights(), vgg).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.0, fused=True)
    truth = truth.contiguous(memory_format=torch.channels_last)

    def total_loss() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            return loss_of(net(truth, valid).float(), truth, valid)[0]

    if compiled:
        total_loss = torch.compile(total_loss)

    def step() -> None:
        optimizer.zero_grad()
        total_loss().backward()
        optimizer.step()

    return step


def ports_step(folder: Path, truth: Tensor, valid: Tensor) -> Step:
    """A step as naoto0804's train.py takes it (7 levels by default; 8 here, to compare like with like)."""
    models = ModuleType("torchvision.models")
    models.vgg16 = lambda **_: SimpleNamespace(features=vgg16_layers())  # type: ignore[attr-defined]
    sys.modules["torchvision"] = SimpleNamespace(models=models)  # type: ignore[assignment]
    sys.modules["torchvision.models"] = models
    net_module, loss_module = load(folder / "net.py"), load(folder / "loss.py")
    net = net_module.PConvUNet(layer_size=8).to(truth.device)
    loss_of = loss_module.InpaintingLoss(net_module.VGG16FeatureExtractor()).to(truth.device)
    optimizer = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), LR)
    mask = valid.expand(-1, 3, -1, -1).float()
    holed = truth * mask

    def step() -> None:
        output, _ = net(holed, mask)
        terms = loss_of(holed, mask, output, truth)
        loss = sum(weight * terms[name] for name, weight in PORTS_WEIGHTS.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"port_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def vgg16_layers() -> nn.Sequential:
    """The first three blocks of torchvision's ``vgg16().features``, which is not needed for this."""
    layers: list[nn.Module] = []
    channels = 3
    for widths in ((64, 64), (128, 128), (256, 256, 256)):
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def finished(step: Step, device: torch.device) -> Step:
    """``step``, and on a GPU the wait for its end."""

    def run() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def print_profile(step: Step, device: torch.device) -> None:
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu) as profiled:
        step()
    order = f"self_{device.type}_time_total"
    print(profiled.key_averages().table(sort_by=order, row_limit=PROFILED_OPERATORS, max_name_column_width=45))


@click.command()
@click.option("--quick", is_flag=True, help="Fewer repeats.")
@click.option("--size", default=256, show_default=True, help="Side in px; with --port a multiple of 256.")
@click.option("--batch", default=2, show_default=True)
@click.option("--repeats", type=int, help="9, or 3 with --quick.")
@click.option("--device", "device_name", default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Of ours.")
@click.option("--compile/--no-compile", "compiled", help="torch.compile our forward and loss.")
@click.option("--port", type=click.Path(path_type=Path, exists=True), help="A checkout of naoto0804's port.")
@click.option("--profile", "profiled", is_flag=True, help="Where the time of our step goes.")
def main(
    quick: bool,
    size: int,
    batch: int,
    repeats: int | None,
    device_name: str,
    precision: str,
    compiled: bool,
    port: Path | None,
    profiled: bool,
) -> None:
    if port and size % PORTS_MULTIPLE:
        raise click.UsageError(f"the port with 8 levels takes multiples of {PORTS_MULTIPLE} px, not {size}")
    repeats = repeats or (3 if quick else 9)
    device = torch.device(device_name)
    torch.backends.cudnn.benchmark = True  # as the training loop and the port have it
    torch.manual_seed(0)
    truth = torch.rand(batch, 3, size, size, device=device)
    holes = torch.rand(batch, 1, size // 16, size // 16, device=device) < 0.25
    valid = ~holes.repeat_interleave(16, 2).repeat_interleave(16, 3)
    steps = {"ours": finished(our_step(truth, valid, precision, compiled), device)}
    if port:
        steps["port"] = finished(ports_step(port, truth, valid), device)
    seconds = interleaved(steps, repeats)

    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    machine += f", {torch.get_num_threads()} threads, torch {torch.__version__}"
    how = f"ours {precision}{', compiled' if compiled else ''}; port fp32"
    print(f"training step of the paper network, {batch} x {size} x {size}, {how}, {machine}\n")
    for name, s in seconds.items():
        ratio = f"   {seconds['ours'] / seconds['port']:.2f} of the port's" if name == "ours" and port else ""
        print(f"{name:<6}{s * 1e3:>9.0f} ms{batch / s:>9.2f} images/s{ratio}")
    if profiled:
        print_profile(steps["ours"], device)
    result = {
        "machine": machine,
        "size": size,
        "batch": batch,
        "precision": precision,
        "compile": compiled,
        "seconds": {name: round(s, 4) for name, s in seconds.items()},
        "images_per_s": {name: round(batch / s, 3) for name, s in seconds.items()},
        "ratio_to_port": round(seconds["ours"] / seconds["port"], 3) if port else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
