"""What the benchmarks share: fair timing, the plain network, and peers from checkouts that are never committed."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pconv import PConvUNet

PAUSE = 0.03
"""Seconds between two candidates: thread pools that wait in a loop for more work give up and leave the cores."""


def interleaved(candidates: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, one after the other in turn, after one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(repeats + 1):
        for name, run in candidates.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            run()
            if round_number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def resident_mb(entry: str = "VmRSS") -> float:
    """MB of this process (Linux): VmRSS is now, VmHWM the highest. `ru_maxrss` also has the parent's."""
    found = re.search(rf"{entry}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def machine() -> str:
    return f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def show(rows: Mapping[str, Mapping[str, str]], title: str) -> None:
    """A table, with a row for each key."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    widths = {name: max(len(name), *(len(row.get(name, "")) for row in rows.values())) + 2 for name in columns}
    print(f"{title}\n\n{'':<28}" + "".join(f"{name:>{widths[name]}}" for name in columns))
    for head, row in rows.items():
        print(f"{head:<28}" + "".join(f"{row.get(name, '-'):>{widths[name]}}" for name in columns))


def finish(result: Mapping[str, Any]) -> None:
    """The one line for machines, last."""
    print("\n" + json.dumps({"machine": machine(), **result}))


def save_figure(figure: Any, path: Path, salt: str) -> None:
    """Write a figure of matplotlib; as SVG, the same figure gives the same bytes, by ``salt`` and without a date."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else {})


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
            features = F.leaky_relu(norm(features), 0.2) if skips else features
        return features


def plain(conv: nn.Conv2d) -> nn.Conv2d:
    return nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None
    )


def load_port(folder: Path) -> nn.Module:
    """The network of naoto0804/pytorch-inpainting-with-partial-conv (7 levels by default; 8 here, like the paper)."""
    torchvision = ModuleType("torchvision")
    torchvision.models = ModuleType("torchvision.models")  # type: ignore[attr-defined]  # its VGG is not used here
    modules = {"torchvision": torchvision, "torchvision.models": torchvision.models}
    port: nn.Module = _from_file(folder / "net.py", modules).PConvUNet(layer_size=8)
    port.eval()  # its train() returns nothing
    return port


def load_nvidia(folder: Path) -> type[nn.Conv2d]:
    """PartialConv2d of NVIDIA/partialconv."""
    layer: type[nn.Conv2d] = _from_file(folder / "models" / "partialconv2d.py", {}).PartialConv2d
    return layer


def load_lama(folder: Path) -> nn.Module:
    """LaMa's generator (advimman/lama, the widths of big-lama) with random weights, for its speed only."""
    package = "saicinpainting.training.modules"
    stand_ins: dict[str, dict[str, Any]] = {
        "saicinpainting": {},
        "saicinpainting.training": {},
        package: {},
        f"{package}.base": {"get_activation": lambda _: nn.Sigmoid(), "BaseDiscriminator": nn.Module},
        f"{package}.spatial_transform": {"LearnableSpatialTransformWrapper": None},
        f"{package}.squeeze_excitation": {"SELayer": nn.Identity},
        "saicinpainting.utils": {"get_shape": None},
    }
    modules = {name: ModuleType(name) for name in stand_ins}
    for name, values in stand_ins.items():
        vars(modules[name]).update(values)
    ffc = _from_file(folder / "saicinpainting" / "training" / "modules" / "ffc.py", modules)
    first = {"ratio_gin": 0, "ratio_gout": 0, "enable_lfu": False}
    inner = {"ratio_gin": 0.75, "ratio_gout": 0.75, "enable_lfu": False}
    generator: nn.Module = ffc.FFCResNetGenerator(
        4, 3, n_blocks=18, add_out_act="sigmoid", init_conv_kwargs=first, downsample_conv_kwargs=dict(first),
        resnet_conv_kwargs=inner,
    )  # fmt: skip
    return generator.eval()


def _from_file(path: Path, stand_ins: Mapping[str, ModuleType]) -> Any:
    """The module in ``path``, with ``stand_ins`` for what it imports and does not need here."""
    spec = importlib.util.spec_from_file_location(f"peer_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise SystemExit(f"{path} is not there: give a checkout of that repository")
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        for name, was in before.items():
            if was is None:
                del sys.modules[name]
            else:
                sys.modules[name] = was
    return module


def block_holes(batch: int, size: int, share: float = 0.25) -> Tensor:
    """Validity ``(B, 1, size, size)``, bool: squares of 16 px are holes at random, the same ones each time."""
    side = -(-size // 16)
    squares = torch.rand(batch, 1, side, side, generator=torch.Generator().manual_seed(0)) > share
    return squares.repeat_interleave(16, 2).repeat_interleave(16, 3)[..., :size, :size]
