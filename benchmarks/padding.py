"""What does padding change at the border? A crop of a photo against the same place in the uncropped photo.

    python benchmarks/padding.py --photos PHOTOS --vgg FILE                # a folder, such as BSDS500's test photos
    python benchmarks/padding.py --photos PHOTOS --vgg FILE --count 40 --picture docs/images/padding.svg

VGG-16, blocks 1 and 2: features of the crop minus those of the uncropped photo, with the same weights and four kinds
of padding. The bundled network: its features, and its fills of a hole, with what it does (padding is hole), with zeros
that count as known in each convolution, and with a crop that was continued by 128 px.

The relative error at a distance from the border is sum |crop - uncropped| / sum |uncropped| over all places of that
distance and all channels; the mean of all photos is shown. Errors of fills are mean |crop - uncropped| over hole
pixels, in levels of 255. A JSON line comes last.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import torch
from common import finish, machine, save_figure, show
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pconv import PConvUNet, VGG16Features, convert_padding, irregular_hole, load_network, load_vgg
from pconv.models import find_model
from pconv.nn import unet
from pconv.nn.layers import box_sum, renormalize

Pixels = NDArray[np.float32]
Errors = dict[str, dict[str, list[float]]]
"""By what is measured and by padding: a value for each distance, or for each bin of distances."""

MARGIN = 32
"""Of the photo around the crop that VGG-16 sees, in pixels; more than the 14 px that pool2 sees."""
LAYERS = {"conv1_2": 1, "conv2_1": 2, "conv2_2": 2, "pool2": 4}
"""Of VGG-16, behind their ReLU, with the pixels of the image between two places."""
RINGS = 4
GRID = 128
"""The network's crop begins at multiples of this, and is as large as multiples of it, so that nothing else pads."""
LEVELS = {"encoder level 1": 2, "encoder level 2": 4, "encoder level 3": 8}
BINS = (0, 4, 8, 16, 32, 64)
PADDINGS = ("zero", "reflect", "replicate", "partial")
OURS = {"zero": "zero, known", "reflect": "reflect", "replicate": "replicate", "partial": "hole (as it is)"}


def with_padding(vgg: VGG16Features, kind: str) -> VGG16Features:
    vgg = copy.deepcopy(vgg)
    if kind == "partial":
        return convert_padding(vgg)
    for module in vgg.modules():
        if isinstance(module, nn.Conv2d) and kind != "zero":
            module.padding_mode = kind
    return vgg


@torch.inference_mode()
def layers_of(vgg: VGG16Features, image: Tensor) -> dict[str, Tensor]:
    """The outputs of ``LAYERS``, ``(C, H, W)``."""
    seen: list[Tensor] = []
    convolutions = [module for module in vgg.features if isinstance(module, nn.Conv2d)]
    hooks = [each.register_forward_hook(lambda _, __, out: seen.append(out.relu()[0])) for each in convolutions]
    pools = vgg(image, 2)
    for hook in hooks:
        hook.remove()
    return dict(zip(LAYERS, [*seen[1:4], pools[1][0]], strict=True))


def rings(crop: Tensor, uncropped: Tensor) -> list[float]:
    """The relative error at each of the first ``RINGS`` distances from the border, of features ``(C, H, W)``."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in crop.shape[1:])
    distance = np.minimum(rows[:, None], columns)
    wrong, size = ((crop - uncropped).abs().sum(0).numpy(), uncropped.abs().sum(0).numpy())
    return [float(wrong[distance == ring].sum() / size[distance == ring].sum()) for ring in range(RINGS)]


def vgg_errors(networks: Mapping[str, VGG16Features], photo: Pixels) -> Errors:
    height, width = ((length - 2 * MARGIN) // 4 * 4 for length in photo.shape[:2])
    rows, columns = slice(MARGIN, MARGIN + height), slice(MARGIN, MARGIN + width)
    reference = layers_of(networks["zero"], tensor(photo))
    errors: Errors = {name: {} for name in LAYERS}
    for kind, vgg in networks.items():
        for name, features in layers_of(vgg, tensor(photo[rows, columns])).items():
            step = LAYERS[name]
            window = (slice(rows.start // step, rows.stop // step), slice(columns.start // step, columns.stop // step))
            errors[name][kind] = rings(features, reference[name][:, *window])
    return errors


def known_border(raw: Tensor, groups: list[tuple[Tensor, int]], conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """``pconv.nn.unet._renormalize`` with zeros around the image that count as known."""
    counts = sum(m.to(torch.float32) * (channels if m.shape[1] == 1 else 1) for m, channels in groups)
    assert isinstance(counts, Tensor)
    counts = counts.sum(1, keepdim=True)
    around = [(k // 2, k // 2) for k in conv.kernel_size]
    summed = partial(box_sum, kernel_size=conv.kernel_size, stride=conv.stride, padding=around, dilation=(1, 1))
    window = conv.weight[0].numel()
    outside = window - summed(torch.full_like(counts, conv.in_channels))
    return renormalize(raw, summed(counts) + outside, window, conv.bias)


@contextmanager
def levels_of(net: PConvUNet) -> Iterator[list[Tensor]]:
    """The features of the encoder's first levels, in the order in which they come, ``(C, H, W)``."""
    seen: list[Tensor] = []
    encoder, _ = net.levels
    hooks = [
        level.register_forward_hook(lambda _, __, out: seen.append(out.features[0]))
        for level in encoder[: len(LEVELS)]
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def run(net: PConvUNet, photo: Pixels, hole: NDArray[np.bool_], origin: int) -> tuple[Pixels, dict[str, Tensor]]:
    """The network's prediction ``(H, W, 3)`` and features, of an image that begins at ``origin`` on the canvas."""
    with levels_of(net) as seen:
        output = net(tensor(photo), torch.from_numpy(~hole)[None, None], origin=(origin, origin))
    return output[0].permute(1, 2, 0).clamp(0, 1).numpy(), dict(zip(LEVELS, seen, strict=True))


def our_errors(net: PConvUNet, photo: Pixels, generator: np.random.Generator) -> tuple[Errors, Errors]:
    """Of features and of fills. The uncropped photo lies on a canvas on which the crop begins at (GRID, GRID)."""
    size = tuple(GRID * (2 if length > 2.5 * GRID + 64 else 1) for length in photo.shape[:2])
    before = tuple((length - part) // 2 for length, part in zip(photo.shape[:2], size, strict=True))
    rows, columns = (slice(start, start + part) for start, part in zip(before, size, strict=True))
    crop, hole = photo[rows, columns], irregular_hole(*size, (0.3, 0.5), generator=generator)
    # Around the photo, and so around the uncropped one, is hole.
    to_grid = [(GRID - before[0], 0), (GRID - before[1], 0)]
    marked = np.zeros(photo.shape[:2], bool)
    marked[rows, columns] = hole
    canvas = np.pad(photo, [*to_grid, (0, 0)])
    reference, reference_features = run(net, canvas, np.pad(marked, to_grid, constant_values=True), 0)
    inside = (slice(GRID, GRID + size[0]), slice(GRID, GRID + size[1]))
    reference = reference[inside]

    def continued(kind: str) -> tuple[Pixels, dict[str, Tensor]]:
        mode: str = {"reflect": "reflect", "replicate": "edge"}[kind]
        wide = [(GRID, GRID), (GRID, GRID)]
        image = np.pad(crop, [*wide, (0, 0)], mode=mode)  # type: ignore[call-overload]
        filled, features = run(net, image, np.pad(hole, wide, mode=mode), 0)  # type: ignore[call-overload]
        return filled[inside], {name: within(each, LEVELS[name], size) for name, each in features.items()}

    def zero() -> tuple[Pixels, dict[str, Tensor]]:
        with patch.object(unet, "_renormalize", known_border):
            return run(net, crop, hole, GRID)

    kinds: dict[str, Callable[[], tuple[Pixels, dict[str, Tensor]]]] = {
        "zero": zero,
        "reflect": partial(continued, "reflect"),
        "replicate": partial(continued, "replicate"),
        "partial": partial(run, net, crop, hole, GRID),
    }
    of_features: Errors = {name: {} for name in LEVELS}
    of_fills: Errors = {"uncropped": {}, "truth": {"uncropped": by_distance(np.abs(reference - crop), hole)}}
    for kind, made in kinds.items():
        filled, features = made()
        for name, each in features.items():
            of_features[name][kind] = rings(each, within(reference_features[name], LEVELS[name], size))
        of_fills["uncropped"][kind] = by_distance(np.abs(filled - reference), hole)
        of_fills["truth"][kind] = by_distance(np.abs(filled - crop), hole)
    return of_features, of_fills


def within(features: Tensor, step: int, size: tuple[int, ...]) -> Tensor:
    start = GRID // step
    return features[:, start : start + size[0] // step, start : start + size[1] // step]


def by_distance(difference: Pixels, hole: NDArray[np.bool_]) -> list[float]:
    """Mean over the hole's pixels in each bin of distances from the border, in levels of 255; NaN without a pixel."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in hole.shape)
    distance = np.minimum(rows[:, None], columns)
    values = difference.mean(axis=2) * 255
    chosen = [hole & (low <= distance) & (distance < high) for low, high in pairwise(BINS)]
    return [float(values[each].mean()) if each.any() else float("nan") for each in chosen]


def tensor(photo: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))[None]


def collect(every: list[Errors]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """All photos' values, ``(photos, distances)``."""
    return {
        name: {kind: np.array([errors[name][kind] for errors in every]) for kind in every[0][name]}
        for name in every[0]
    }


def table(values: Mapping[str, NDArray[np.float64]], heads: list[str], form: str) -> dict[str, dict[str, str]]:
    rows = {
        kind: {head: form.format(value) for head, value in zip(heads, np.nanmean(each, 0), strict=True)}
        for kind, each in values.items()
    }
    if "partial" in values and "zero" in values:
        better = (values["partial"] < values["zero"]).sum(0)
        counted = np.isfinite(values["partial"]).sum(0)
        rows["photos where partial < zero"] = {
            head: f"{n} of {all_}" for head, n, all_ in zip(heads, better, counted, strict=True)
        }
    return rows


@click.command()
@click.option("--photos", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--vgg", "weights", type=click.Path(path_type=Path, exists=True), help="VGG-16; else it is downloaded.")
@click.option("--count", default=40, show_default=True, help="Photos, evenly from the folder.")
@click.option("--picture", type=click.Path(path_type=Path), help="Where to write the curves, such as padding.svg.")
def main(folder: Path, weights: Path | None, count: int, picture: Path | None) -> None:
    every = sorted(path for path in folder.iterdir() if path.is_file())
    paths = every[:: max(len(every) // count, 1)][:count]
    vgg = load_vgg(weights, blocks=2)
    networks = {kind: with_padding(vgg, kind) for kind in PADDINGS}
    net, _ = load_network(find_model("default", ".safetensors"))
    net.eval()
    of_vgg, of_ours, of_fills = [], [], []
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            photo = np.asarray(image.convert("RGB"), np.float32) / 255
        of_vgg.append(vgg_errors(networks, photo))
        features, fills = our_errors(net, photo, np.random.default_rng(number))
        of_ours.append(features)
        of_fills.append(fills)
        print(f"\r{number + 1} of {len(paths)} photos", end="", flush=True)
    print()
    parts = {"VGG-16": collect(of_vgg), "bundled network": collect(of_ours)}
    fills_by_bin = collect(of_fills)
    for network, of_layers in parts.items():
        for name, values in of_layers.items():
            step = {**LAYERS, **LEVELS}[name]
            heads = [f"{ring * step} to {(ring + 1) * step} px" for ring in range(RINGS)]
            show(table(values, heads, "{:.4f}"), f"\n{network}, {name}: relative error, by distance from the border")
    heads = [f"{low} to {high} px" for low, high in pairwise(BINS)]
    show(table(fills_by_bin["uncropped"], heads, "{:.2f}"), "\nfills: difference from the uncropped photo's, of 255")
    show(table(fills_by_bin["truth"], heads, "{:.2f}"), "\nfills: difference from the truth, of 255")
    if picture:
        draw(parts, fills_by_bin["uncropped"], picture)
    print(f"\n{len(paths)} photos, {machine()}")
    finish(
        {
            "photos": len(paths),
            **{network: means(of_layers) for network, of_layers in parts.items()},
            "fills": means(fills_by_bin),
        }
    )


def means(parts: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> dict[str, dict[str, list[float]]]:
    return {
        name: {kind: [round(float(v), 5) for v in np.nanmean(each, 0)] for kind, each in values.items()}
        for name, values in parts.items()
    }


def draw(
    parts: Mapping[str, Mapping[str, Mapping[str, NDArray[np.float64]]]],
    fills: Mapping[str, NDArray[np.float64]],
    path: Path,
) -> None:
    panels = [("VGG-16", "conv1_2"), ("VGG-16", "conv2_2"), ("bundled network", "encoder level 2")]
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes = figure.subplots(1, 4)
    for (network, name), axis in zip(panels, axes, strict=False):
        step = {**LAYERS, **LEVELS}[name]
        for number, kind in enumerate(PADDINGS):
            label = OURS[kind] if network == "bundled network" else kind
            middles = [(ring + 0.5) * step for ring in range(RINGS)]
            axis.plot(middles, 100 * parts[network][name][kind].mean(0), "o-", color=f"C{number}", label=label)
        axis.set(title=f"{network}, {name}", ylabel="relative error, %")
    for number, kind in enumerate(PADDINGS):
        middles = [(low + high) / 2 for low, high in pairwise(BINS)]
        axes[3].plot(middles, np.nanmean(fills[kind], 0), "o-", color=f"C{number}", label=OURS[kind])
    axes[3].set(title="bundled network, fill", ylabel="difference, levels of 255")
    for axis in axes:
        axis.set(xlabel="distance from the border, px", ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    save_figure(figure, path, "padding")


if __name__ == "__main__":
    main()
