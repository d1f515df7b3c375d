"""The whole job of filling as one ONNX graph: polarity, normalisation, padding, validity, network, composite.

The graph is written node by node, in the form of :mod:`pconv.nn.fused`: validity on one channel beside the features,
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
from torch import Tensor

from pconv.errors import InputError
from pconv.files import replacing
from pconv.models import GRAPH_FORMAT
from pconv.nn.fused import UNPHASED, scale_and_shift
from pconv.nn.membrane import AROUND, LEAST_COUNT, OVERSHOOT, RELAXATIONS, RELAXATIONS_FINEST, SPREAD
from pconv.nn.phases import PHASES_OF_TAPS
from pconv.nn.unet import LEAKY_SLOPE, PConvUNet

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
) -> None:
    """Write ``network`` as an ONNX file that fills holes; batch, height and width are free.

    Inputs: ``image`` ``(B, C, H, W)``, float32 in 0..1 (anything in holes) or uint8, and ``hole`` ``(B, 1, H, W)``,
    uint8, non-zero = fill. Outputs: ``filled``, like ``image`` and equal to it outside the hole, and ``reached``
    ``(B, 1, H, W)`` bool: where something known had a say (deep in very wide holes nothing had, and ``filled`` says
    nothing). The metadata has ``format``, ``image``, ``config`` and ``recipe``, the last two as JSON.

    Args:
        recipe: how the weights came to be, anything JSON can hold.
        image: what the graph takes and gives.
        fp16_weights: store weights in half precision, to be computed with in single; halves the file.
        opset: of ONNX, from 13.

    Raises:
        InputError: ``opset`` is older, or newer than the onnx package knows.
    """
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
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def build(network: PConvUNet, image: Literal["float", "uint8"], fp16_weights: bool, opset: int) -> onnx.ModelProto:
    """The graph of :func:`save_onnx`, without metadata."""
    config = network.config
    kind = TensorProto.UINT8 if image == "uint8" else TensorProto.FLOAT
    graph = _Graph(np.float16 if fp16_weights else np.float32)

    is_hole = graph.add("Cast", "hole", to=TensorProto.BOOL)
    known = graph.add("Cast", graph.add("Not", is_hole), to=TensorProto.FLOAT)
    picture = "image"
    if image == "uint8":
        picture = graph.add("Div", graph.add("Cast", "image", to=TensorProto.FLOAT), graph.number(255.0))
    normal = graph.add("Div", graph.add("Sub", picture, graph.number(config.mean)), graph.number(config.std))
    features = graph.add("Where", is_hole, graph.number(0.0), normal)
    size = graph.add("Slice", graph.add("Shape", "image"), graph.integers([2]), graph.integers([4]))
    missing = graph.add("Mod", graph.add("Neg", size), graph.integers([config.multiple]))
    pads = graph.add("Concat", graph.integers([0] * 6), missing, axis=0)
    features, known = graph.add("Pad", features, pads), graph.add("Pad", known, pads)

    surface = graph.membrane(features, known, config.in_channels, len(config.channels)) if config.membrane else None
    skips: list[tuple[str, str]] = []
    encoders, decoders = network.levels
    for encoder in encoders:
        skips.append((features, known))
        kernel = encoder.conv.kernel_size[0]
        scale, shift = scale_and_shift(encoder.conv, encoder.norm)
        raw = graph.conv(features, graph.weight(encoder.conv.weight, scale), kernel, stride=2)
        ratio, known = graph.follow(known, kernel, 1, stride=2)
        features = graph.finish(raw, ratio, graph.array(shift.view(1, -1, 1, 1)), known, slope=0.0)
    for inner, decoder in enumerate(decoders):
        skip, skip_known = skips.pop()
        channels = (decoder.below_channels, decoder.skip_channels)
        scale, shift = scale_and_shift(decoder.conv, decoder.norm)
        below_weight, skip_weight = torch.split(decoder.conv.weight, list(channels), 1)
        if inner < UNPHASED:
            raw = graph.conv(graph.upsample(features), graph.weight(below_weight, scale), 3)
        else:
            phases = graph.phases(below_weight, scale)
            raw = graph.add("ConvTranspose", features, phases, strides=[2, 2], pads=[1] * 4, kernel_shape=[4, 4])
        raw = graph.add("Add", raw, graph.conv(skip, graph.weight(skip_weight, scale), 3))
        below_count = graph.add("Mul", graph.upsample(known), graph.number(channels[0]))
        skip_count = graph.add("Mul", skip_known, graph.number(channels[1]))
        ratio, known = graph.follow(graph.add("Add", below_count, skip_count), 3, sum(channels))
        features = graph.finish(
            raw, ratio, graph.array(shift.view(1, -1, 1, 1)), known, slope=1.0 if decoder.last else LEAKY_SLOPE
        )

    if surface:
        colour, trust = graph.split(features, [config.in_channels, 1])
        change = graph.add("Mul", graph.add("Sub", colour, surface), graph.add("Sigmoid", trust))
        features = graph.add("Add", surface, change)
    crop = [graph.integers([0, 0]), size, graph.integers([2, 3])]
    output = graph.add("Slice", features, *crop)
    output = graph.add("Add", graph.add("Mul", output, graph.number(config.std)), graph.number(config.mean))
    output = graph.add("Clip", output, graph.number(0.0), graph.number(1.0))
    if image == "uint8":
        rounded = graph.add("Round", graph.add("Mul", output, graph.number(255.0)))
        output = graph.add("Cast", rounded, to=TensorProto.UINT8)
    graph.add("Where", is_hole, output, "image", output="filled")
    graph.add("Cast", graph.add("Slice", known, *crop), to=TensorProto.BOOL, output="reached")

    def value(name: str, kind: int, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", channels, "height", "width"])

    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "pconv",
            [value("image", kind, config.in_channels), value("hole", TensorProto.UINT8, 1)],
            [value("filled", kind, config.in_channels), value("reached", TensorProto.BOOL, 1)],
            graph.constants,
        ),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="pconv",
    )


class _Graph:
    """Nodes and constants in the making; values go by their names."""

    def __init__(self, weight_dtype: type[np.floating[Any]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weight_dtype = weight_dtype
        self._known: dict[bytes, str] = {}

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

    def weight(self, weight: Tensor, scale: Tensor | None) -> str:
        """``weight`` as it is in the checkpoint, times the ``scale`` ``(C_out,)`` of the norm behind it."""
        return self._scaled(weight, None if scale is None else scale.view(-1, 1, 1, 1))

    def _scaled(self, weight: Tensor, scale: Tensor | None) -> str:
        stored = self.constant(weight.detach().float().numpy().astype(self._weight_dtype))
        if self._weight_dtype is not np.float32:
            stored = self.add("Cast", stored, to=TensorProto.FLOAT)
        return stored if scale is None else self.add("Mul", stored, self.array(scale))

    def phases(self, weight: Tensor, scale: Tensor | None) -> str:
        """:func:`pconv.nn.phases.phase_kernel` of ``weight``, whose 3x3 taps are what is stored."""
        c_out, c_in = weight.shape[:2]
        flat = self._scaled(weight.transpose(0, 1).flatten(2), None if scale is None else scale.view(1, -1, 1))
        kernel = self.add("MatMul", flat, self.array(PHASES_OF_TAPS))
        return self.add("Reshape", kernel, self.integers([c_in, c_out, 4, 4]))

    def conv(self, features: str, weight: str, kernel: int, stride: int = 1) -> str:
        around = [kernel // 2] * 4
        return self.add("Conv", features, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=around)

    def upsample(self, features: str) -> str:
        return self._twice(features, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")

    def _twice(self, features: str, **how: Any) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.add("Resize", features, "", scales, **how)

    def split(self, features: str, sizes: Sequence[int]) -> list[str]:
        """The channels in parts."""
        parts = [f"split_{len(self.nodes)}_{number}" for number in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [features, self.integers(sizes)], parts, name=parts[0], axis=1))
        return parts

    def membrane(self, image: str, known: str, channels: int, levels: int) -> str:
        """:func:`pconv.nn.membrane.membrane`; ``known`` is 1 and 0, and ``image`` is 0 where that is 0."""
        one, least = self.number(1.0), self.number(LEAST_COUNT)
        pyramid = []
        for _ in range(levels):
            pyramid.append((image, known))
            counts = self._each(known, SPREAD, 1, stride=2)
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
            take = self.add("Div", step, self._each(everywhere, AROUND, 1))
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
        """sum(1)/sum(M) and the validity of a level's output, from the known channels at each place of its input."""
        ones = self.constant(np.ones((1, 1, kernel, kernel), np.float32))
        sums = self.conv(counts, ones, kernel, stride)
        known = self.add("Min", sums, self.number(1.0))
        window = self.add("Mul", known, self.number(channels * kernel**2))
        return self.add("Div", window, self.add("Max", sums, self.number(1.0))), known

    def finish(self, raw: str, ratio: str, shift: str, known: str, slope: float) -> str:
        """Renormalise (equation 1), shift, activate, and make holes 0 again."""
        features = self.add("Add", self.add("Mul", raw, ratio), shift)
        if slope == 0.0:
            features = self.add("Relu", features)
        elif slope != 1.0:
            features = self.add("LeakyRelu", features, alpha=slope)
        return self.add("Mul", features, known)
