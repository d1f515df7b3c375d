"""The whole job of filling as one ONNX graph: normalisation, padding, validity, surface, noise, network, composite.

The graph is written node by node, in the form of ``pconv.nn.fused``: validity on one channel beside the features,
decoders as transposed convolutions. Weights are stored as they are in the checkpoint; batch norm's scale and the phase
kernels are constant expressions over them, which every runtime evaluates once, when it loads the graph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from pconv.errors import InputError
from pconv.files import replacing
from pconv.models import GRAPH_FORMAT
from pconv.nn.fused import UNPHASED, scale_and_shift
from pconv.nn.noise import SHIFT, SIDE, NoiseInput
from pconv.nn.phases import PHASES_OF_TAPS
from pconv.nn.surface import AROUND, LEAST_COUNT, OVERSHOOT, RELAXATIONS, RELAXATIONS_FINEST, SPREAD
from pconv.nn.unet import PConvUNet, ResidualBlock, UNetConfig

LOWEST_OPSET = 13
DEFAULT_OPSET = 17


def save_onnx(
    network: PConvUNet,
    path: Path,
    recipe: Mapping[str, Any],
    *,
    image: Literal["float", "uint8"] = "float",
    fp16_weights: bool = False,
    opset: int = DEFAULT_OPSET,
    weights: Path | None = None,
) -> None:
    """Write ``network`` as an ONNX file that fills holes; batch, height and width are free.

    Inputs:

    * ``image`` ``(B, C, H, W)``, float32 in 0..1 (anything in holes) or uint8;
    * ``hole`` ``(B, 1, H, W)`` uint8, non-zero = fill; ``(B, C, H, W)`` where the configuration's ``valid_channels``
      says so;
    * networks with a surface: ``estimate`` ``(B, 1, H, W)`` uint8, non-zero where a hole pixel of ``image`` holds an
      estimate to start from; all 0 for none;
    * networks with noise inputs: ``seed`` ``(1,)`` int64, 0 to 63, and ``origin`` ``(2,)`` int64, row and column at
      which ``image`` begins in the whole photo, multiples of 2^noise_levels.

    Outputs, like ``image``: ``filled``, which is equal to it outside the hole, and ``predicted``, the network's
    prediction everywhere. The metadata has ``format``, ``image``, ``config`` and ``recipe``, the last two as JSON.

    Args:
        recipe: how the weights came to be, anything JSON can hold.
        image: what the graph takes and gives.
        fp16_weights: store weights in half precision, to be computed with in single; halves the file.
        opset: of ONNX, from 13.
        weights: a checkpoint of the same network, in the same precision and in the folder of ``path``. The graph then
            refers to its convolution weights (ONNX external data) instead of storing them.

    Raises:
        InputError: ``opset`` is older, or newer than the onnx package knows; ``weights`` is in another folder or
            holds other numbers than the graph would.
    """
    if weights is not None and weights.resolve().parent != path.resolve().parent:
        raise InputError(f"a graph finds its weights in its own folder only: write it beside {weights}, not to {path}")
    newest = onnx.defs.onnx_opset_version()
    if not LOWEST_OPSET <= opset <= newest:
        raise InputError(f"this onnx package knows opsets up to {newest}, and pconv needs {LOWEST_OPSET}; got {opset}")
    model = build(network, image, fp16_weights, opset)
    helper.set_model_props(
        model,
        {
            "format": GRAPH_FORMAT,
            "image": image,
            "config": json.dumps(asdict(network.config)),
            "recipe": json.dumps(dict(recipe)),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    if weights is not None:
        refer_to(model, weights)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def refer_to(model: onnx.ModelProto, weights: Path) -> None:
    """Replace the constants that a safetensors file holds under the same name, bit for bit, by references to it.

    Raises:
        InputError: it holds other bits under that name.
    """
    content = weights.read_bytes()
    length = int.from_bytes(content[:8], "little")
    begin = 8 + length
    entries = json.loads(content[8:begin])
    for tensor in model.graph.initializer:
        if tensor.name not in entries:
            continue
        start, end = entries[tensor.name]["data_offsets"]
        if content[begin + start : begin + end] != tensor.raw_data:
            raise InputError(
                f"{weights} holds another {tensor.name} than the graph: give the network's own checkpoint, and "
                f"write the graph in its precision"
            )
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", weights.name), ("offset", begin + start), ("length", end - start)):
            tensor.external_data.add(key=key, value=str(value))


def build(network: PConvUNet, image: Literal["float", "uint8"], fp16_weights: bool, opset: int) -> onnx.ModelProto:
    """The graph of ``save_onnx``, without metadata."""
    config = network.config
    kind = TensorProto.UINT8 if image == "uint8" else TensorProto.FLOAT
    graph = _Graph(network, np.float16 if fp16_weights else np.float32)
    zero, one, half = graph.number(0.0), graph.number(1.0), graph.number(0.5)

    is_hole = graph.add("Cast", "hole", to=TensorProto.BOOL)
    colours = "image"
    if image == "uint8":
        colours = graph.add("Div", graph.add("Cast", "image", to=TensorProto.FLOAT), graph.number(255.0))
    normal = graph.add("Div", graph.add("Sub", colours, graph.number(config.mean)), graph.number(config.std))
    size = graph.add("Slice", graph.add("Shape", "image"), graph.integers([2]), graph.integers([4]))
    missing = graph.add("Mod", graph.add("Neg", size), graph.integers([config.multiple]))
    pads = graph.add("Concat", graph.integers([0] * 6), missing, axis=0)

    def padded(unknown: str) -> tuple[str, str]:
        """Known values and where they are, 1 and 0; padding is a hole."""
        known = graph.add("Cast", graph.add("Not", unknown), to=TensorProto.FLOAT)
        return graph.add("Pad", graph.add("Where", unknown, zero, normal), pads), graph.add("Pad", known, pads)

    features, maps = padded(is_hole)
    whole = config.valid_channels  # what a count is where every channel is known
    known = maps if whole == 1 else graph.add("ReduceSum", maps, graph.integers([1]), keepdims=1)
    surface = guide = None
    if config.surface != "none":
        no_estimate = graph.add("Not", graph.add("Cast", "estimate", to=TensorProto.BOOL))
        start = padded(graph.add("And", is_hole, no_estimate))
        surface = graph.surface(*start, config, len(config.channels))
        guide = graph.add("Concat", surface, graph.add("Sub", maps, half), axis=1)
    share = graph.add("Sub", one, graph.add("Div", known, graph.number(whole)))
    noise: dict[nn.Module | None, str] = {}
    for level in range(1, config.noise_levels + 1):
        share = graph.add("AveragePool", share, kernel_shape=[2, 2], strides=[2, 2])
        inputs = [each for each in network.modules() if isinstance(each, NoiseInput) and each.level == level]
        noise |= graph.noise_of_level(inputs, share)

    skips: list[tuple[str, str]] = []
    encoders, decoders = network.levels
    for level, encoder in enumerate(encoders):
        skips.append((features, known))
        kernel = encoder.conv.kernel_size[0]
        raw = graph.conv(features, graph.weight(encoder.conv, encoder.norm), kernel, stride=2)
        ratio, known = graph.follow(known, kernel, 1 if level else whole, stride=2)
        features = graph.finish(raw, ratio, known, encoder.conv, encoder.norm, encoder.slope)
    for inner, decoder in enumerate(decoders):
        skip, skip_known = skips.pop()
        channels = (decoder.below_channels, decoder.skip_channels, decoder.guide_channels)
        weights = graph.split(graph.weight(decoder.conv, decoder.norm), [count for count in channels if count])
        if inner < UNPHASED:
            raw = graph.conv(graph.upsample(features), weights[0], 3)
        else:
            raw = graph.upsampled_conv(features, weights[0], channels[0], decoder.conv.out_channels)
        if decoder.skip_channels:
            raw = graph.add("Add", raw, graph.conv(skip, weights[1], 3))
        if decoder.guide_level is not None:
            assert guide is not None
            raw = graph.add("Add", raw, graph.unshuffled_conv(guide, weights[-1], decoder.guide_level, config))
        counts = graph.add("Mul", graph.upsample(known), graph.number(channels[0]))
        if decoder.skip_channels:
            each = graph.number(channels[1] / whole if decoder.last else channels[1])
            counts = graph.add("Add", counts, graph.add("Mul", skip_known, each))
        if decoder.guide_channels:
            counts = graph.add("Add", counts, graph.number(channels[2]))
        ratio, known = graph.follow(counts, 3, sum(channels))
        holes = None if decoder.guide_channels else known  # the guide is known everywhere, so the output is
        features = graph.finish(raw, ratio, holes, decoder.conv, decoder.norm, decoder.slope, noise.get(decoder.noise))
        whole_ratio = graph.follow(known, 3, 1)[0] if decoder.blocks and not holes else ""
        for block in decoder.blocks:
            assert isinstance(block, ResidualBlock)
            raw = graph.conv(features, graph.weight(block.first, block.first_norm), 3)
            ratio, holes = graph.follow(known, 3, 1) if holes else (whole_ratio, None)
            change = graph.finish(
                raw, ratio, holes, block.first, block.first_norm, block.slope, noise.get(block.noise)
            )
            known = holes or known
            raw = graph.conv(change, graph.weight(block.second, block.second_norm), 3)
            ratio, holes = graph.follow(known, 3, 1) if holes else (whole_ratio, None)
            change = graph.finish(raw, ratio, holes, block.second, block.second_norm, slope=1.0)
            known = holes or known
            features = graph.add("Add", features, change)

    if config.surface == "correction":
        assert surface is not None
        features = graph.add("Add", surface, features)
    elif config.surface == "trust":
        assert surface is not None
        colour, trust = graph.split(features, [config.in_channels, 1])
        change = graph.add("Mul", graph.add("Sub", colour, surface), graph.add("Sigmoid", trust))
        features = graph.add("Add", surface, change)
    output = graph.add("Slice", features, graph.integers([0, 0]), size, graph.integers([2, 3]))
    output = graph.add("Add", graph.add("Mul", output, graph.number(config.std)), graph.number(config.mean))
    if image == "uint8":
        output = graph.add("Mul", graph.add("Clip", output, zero, one), graph.number(255.0))
        graph.add("Cast", graph.add("Round", output), to=TensorProto.UINT8, output="predicted")
    else:
        graph.add("Clip", output, zero, one, output="predicted")
    graph.add("Where", is_hole, "predicted", "image", output="filled")

    def value(name: str, kind: int, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", channels, "height", "width"])

    takes = [
        value("image", kind, config.in_channels),
        value("hole", TensorProto.UINT8, config.valid_channels),
    ]
    if config.surface != "none":
        takes.append(value("estimate", TensorProto.UINT8, 1))
    if config.noise_levels:
        takes.append(helper.make_tensor_value_info("seed", TensorProto.INT64, [1]))
        takes.append(helper.make_tensor_value_info("origin", TensorProto.INT64, [2]))
    gives = [value(name, kind, config.in_channels) for name in ("filled", "predicted")]
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(
        helper.make_graph(graph.nodes, "pconv", takes, gives, graph.constants),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="pconv",
    )


class _Graph:
    """Nodes and constants in the making; values go by their names."""

    def __init__(self, network: PConvUNet, weight_dtype: type[np.floating[Any]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weight_dtype = weight_dtype
        self._known: dict[bytes, str] = {}
        self._names: dict[Tensor, str] = {tensor: name for name, tensor in network.named_parameters()}

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, array: NDArray[Any]) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(array))
        key = tensor.SerializeToString(deterministic=True)
        if key not in self._known:
            tensor.name = self._known[key] = f"constant_{len(self.constants)}"
            self.constants.append(tensor)
        return self._known[key]

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def array(self, values: Tensor) -> str:
        return self.constant(values.detach().float().numpy())

    def stored(self, tensor: Tensor) -> str:
        """A tensor of the checkpoint, by its name there, in the precision of the stored weights."""
        name = self._names[tensor]
        array = tensor.detach().float().numpy().astype(self._weight_dtype)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name if self._weight_dtype is np.float32 else self.add("Cast", name, to=TensorProto.FLOAT)

    def weight(self, conv: nn.Conv2d, norm: nn.Module) -> str:
        """The weight of ``conv`` as it is in the checkpoint, times the scale of the norm behind it."""
        scale, _ = scale_and_shift(conv, norm)
        stored = self.stored(conv.weight)
        return stored if scale is None else self.add("Mul", stored, self.array(scale.view(-1, 1, 1, 1)))

    def conv(self, features: str, weight: str, kernel: int, stride: int = 1) -> str:
        around = [kernel // 2] * 4
        return self.add("Conv", features, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=around)

    def upsampled_conv(self, features: str, weight: str, c_in: int, c_out: int) -> str:
        """``pconv.nn.phases.upsampled_conv3x3`` with ``weight`` ``(c_out, c_in, 3, 3)``."""
        taps = self.add("Transpose", weight, perm=[1, 0, 2, 3])
        flat = self.add("Reshape", taps, self.integers([c_in, c_out, 9]))
        phases = self.add("MatMul", flat, self.array(PHASES_OF_TAPS))
        kernel = self.add("Reshape", phases, self.integers([c_in, c_out, 4, 4]))
        return self.add("ConvTranspose", features, kernel, strides=[2, 2], pads=[1] * 4, kernel_shape=[4, 4])

    def upsample(self, features: str) -> str:
        return self._twice(features, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")

    def _twice(self, features: str, **how: Any) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.add("Resize", features, "", scales, **how)

    def unshuffled_conv(self, guide: str, weight: str, level: int, config: UNetConfig) -> str:
        """``conv2d(pixel_unshuffle(guide, side), weight, padding=1)``, side 2^level, as one of that stride.

        Tap (y, x) of the channel that holds row i and column j of a cell is tap (y * side + i, x * side + j).
        """
        side = 2**level
        if side > 1:
            cells = self.integers([0, config.guide_channels, side, side, 3, 3])
            taps = self.add("Transpose", self.add("Reshape", weight, cells), perm=[0, 1, 4, 2, 5, 3])
            weight = self.add("Reshape", taps, self.integers([0, config.guide_channels, 3 * side, 3 * side]))
        shape: dict[str, Any] = {"kernel_shape": [3 * side] * 2, "strides": [side] * 2, "pads": [side] * 4}
        return self.add("Conv", guide, weight, **shape)

    def _length(self, maps: str, axis: int) -> str:
        return self.add("Slice", self.add("Shape", maps), self.integers([axis]), self.integers([axis + 1]))

    def split(self, features: str, sizes: Sequence[int]) -> list[str]:
        """The channels in parts."""
        parts = [f"split_{len(self.nodes)}_{number}" for number in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [features, self.integers(sizes)], parts, name=parts[0], axis=1))
        return parts

    def noise_of_level(self, inputs: Sequence[NoiseInput], share: str) -> dict[nn.Module | None, str]:
        """``pconv.nn.noise.Noise.at`` of all inputs of a level, with the graph's inputs ``seed`` and ``origin``,
        each times its strength."""
        cells = self.add("Div", "origin", self.integers([2 ** inputs[0].level]))
        shift = self.add("Add", cells, self.add("Mul", "seed", self.integers(SHIFT)))
        rows, columns = (
            self._places_along(share, axis, part) for axis, part in enumerate(self.split_vector(shift), start=2)
        )
        tiles = self.array(torch.stack([own.tile for own in inputs]))
        tiles = self.add("Gather", self.add("Gather", tiles, rows, axis=1), columns, axis=2)
        maps = self.split(self.add("Mul", share, tiles), [1] * len(inputs))
        return {
            own: self.add("Mul", noise, self.array(own.strength.view(1, -1, 1, 1)))
            for own, noise in zip(inputs, maps, strict=True)
        }

    def split_vector(self, pair: str) -> list[str]:
        return [self.add("Slice", pair, self.integers([at]), self.integers([at + 1])) for at in (0, 1)]

    def _places_along(self, share: str, axis: int, shift: str) -> str:
        """Which row or column of the tile each one of ``share`` has."""
        zero, one = (self.constant(np.array(value, np.int64)) for value in (0, 1))
        length = self.add("Squeeze", self._length(share, axis), self.integers([0]))
        return self.add("Mod", self.add("Add", self.add("Range", zero, length, one), shift), self.integers([SIDE]))

    def surface(self, image: str, known: str, config: UNetConfig, levels: int) -> str:
        """``pconv.nn.surface.smooth_surface``; ``known`` is 1 and 0, and ``image`` is 0 where that is 0."""
        one, least = self.number(1.0), self.number(LEAST_COUNT)
        channels, maps = config.in_channels, config.valid_channels
        pyramid = []
        for _ in range(levels):
            pyramid.append((image, known))
            counts = self._each(known, SPREAD, maps, stride=2)
            image = self.add("Div", self._each(image, SPREAD, channels, stride=2), self.add("Max", counts, least))
            known = self.add("Min", self.add("Div", counts, least), one)
        axes = self.integers([2, 3])
        count = self.add("Max", self.add("ReduceSum", known, axes), one)
        mean = self.add("Div", self.add("ReduceSum", image, axes), count)
        surface = self.add("Add", image, self.add("Mul", self.add("Sub", one, known), mean))
        for level, (image, known) in reversed(list(enumerate(pyramid))):
            hole = self.add("Sub", one, known)
            above = self._twice(surface, mode="linear", coordinate_transformation_mode="half_pixel")
            surface = self.add("Add", image, self.add("Mul", hole, above))
            step = self.add("Mul", hole, self.number(OVERSHOOT))
            everywhere = self.add("Add", hole, known)
            take = self.add("Div", step, self._each(everywhere, AROUND, maps))
            keep = self.add("Sub", one, step)
            for _ in range(RELAXATIONS if level else RELAXATIONS_FINEST):
                towards = self.add("Mul", take, self._each(surface, AROUND, channels))
                surface = self.add("Add", self.add("Mul", surface, keep), towards)
        return surface

    def _each(self, maps: str, kernel: Tensor, channels: int, stride: int = 1) -> str:
        """Every one of ``channels`` with the same kernel; nothing lies beyond the border."""
        size = kernel.shape[0]
        weights = self.array(kernel.expand(channels, 1, size, size))
        shape: dict[str, Any] = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [1] * 4}
        return self.add("Conv", maps, weights, group=channels, **shape)

    def follow(self, counts: str, kernel: int, channels: int, stride: int = 1) -> tuple[str, str]:
        """sum(1)/sum(M) and the validity of a level's output, from the known channels at each place of its input.

        Where nothing is known the ratio is finite and multiplies a 0.
        """
        ones = self.constant(np.ones((1, 1, kernel, kernel), np.float32))
        sums = self.conv(counts, ones, kernel, stride)
        ratio = self.add("Div", self.number(channels * kernel**2), self.add("Max", sums, self.number(1.0)))
        return ratio, self.add("Min", sums, self.number(1.0))

    def finish(
        self,
        raw: str,
        ratio: str,
        known: str | None,
        conv: nn.Conv2d,
        norm: nn.Module,
        slope: float,
        noise: str | None = None,
    ) -> str:
        """Renormalise (equation 1), shift, add noise, activate, and make holes 0 again; ``known`` None: no holes."""
        _, shift = scale_and_shift(conv, norm)
        features = self.add("Add", self.add("Mul", raw, ratio), self.array(shift.view(1, -1, 1, 1)))
        if noise is not None:
            features = self.add("Add", features, noise)
        if slope == 0.0:
            features = self.add("Relu", features)
        elif slope != 1.0:
            features = self.add("LeakyRelu", features, alpha=slope)
        return features if known is None else self.add("Mul", features, known)
