import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import COMPLETE, photo_and_hole, random_case, some_net

from pconv import PRESETS, InputError, UNetConfig, load_network, save_network
from pconv.models import CHECKPOINT, GRAPH, GRAPH_FORMAT, find_model
from pconv.nn.onnx_export import save_onnx
from pconv.nn.unet import composite


def open_graph(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def fill(session, image, hole, *, seed=0, origin=(0, 0), estimate=None):
    if estimate is None:
        estimate = torch.zeros_like(hole[:, :1])
    given = {
        "image": image.numpy(),
        "hole": hole.numpy().astype(np.uint8) * 7,
        "estimate": estimate.numpy().astype(np.uint8) * 9,
        "seed": np.array([seed]),
        "origin": np.array(origin),
    }
    return session.run(None, {value.name: given[value.name] for value in session.get_inputs()})[0]


def by_torch(net, image, hole, **options):
    with torch.no_grad():
        output = net(image, ~hole, **options)
    return composite(image, output.clamp(0, 1), ~hole).numpy()


@pytest.fixture(scope="module")
def default():
    return load_network(find_model("default", CHECKPOINT))[0]


@pytest.fixture(scope="module")
def bundled():
    return open_graph(find_model("default", GRAPH))


@pytest.mark.parametrize(("name", "size"), [("astronaut", (256, 300)), ("coffee", (255, 131))])
def test_the_bundled_graph_fills_real_photos_as_the_bundled_checkpoint_does(default, bundled, name, size):
    image, hole = photo_and_hole(name, *size)
    filled = fill(bundled, image, hole, seed=7, origin=(32, 16))
    expected = by_torch(default, image, hole, seed=7, origin=(32, 16))
    assert np.abs(filled - expected).max() < 1e-3
    assert np.abs((filled * 255).round() - (expected * 255).round()).max() <= 1
    known = np.broadcast_to(~hole.numpy(), filled.shape)
    assert np.array_equal(filled[known], image.numpy()[known])


def test_a_batch_of_three_is_three_images(bundled):
    parts = [photo_and_hole(name, 120, 97) for name in ("astronaut", "cat", "coffee")]
    filled = fill(bundled, *(torch.cat(x) for x in zip(*parts, strict=True)))
    for number, (one, its_hole) in enumerate(parts):
        assert np.abs(fill(bundled, one, its_hole)[0] - filled[number]).max() < 1e-5


def test_what_the_bundled_graph_takes_and_says(bundled):
    takes = {value.name: (value.type, value.shape) for value in bundled.get_inputs()}
    assert takes == {
        "image": ("tensor(float)", ["batch", 3, "height", "width"]),
        "hole": ("tensor(uint8)", ["batch", 1, "height", "width"]),
        "estimate": ("tensor(uint8)", ["batch", 1, "height", "width"]),
        "seed": ("tensor(int64)", [1]),
        "origin": ("tensor(int64)", [2]),
    }
    gives = {value.name: (value.type, value.shape) for value in bundled.get_outputs()}
    image = "tensor(float)", ["batch", 3, "height", "width"]
    assert gives == {"filled": image, "predicted": image}
    metadata = bundled.get_modelmeta().custom_metadata_map
    assert metadata["format"] == GRAPH_FORMAT == "pconv-fill-2"
    assert metadata["image"] == "float"
    assert UNetConfig(**json.loads(metadata["config"])) == PRESETS["default"]


def test_uint8_images_go_in_and_out(tmp_path):
    net = some_net(COMPLETE)
    save_onnx(net, tmp_path / "bytes.onnx", {}, image="uint8")
    image, hole = photo_and_hole("cat", 130, 200)
    image = (image * 255).round()
    filled = fill(open_graph(tmp_path / "bytes.onnx"), image.to(torch.uint8), hole, seed=3)
    assert filled.dtype == np.uint8
    expected = (by_torch(net, image / 255, hole, seed=3) * 255).round()
    assert np.abs(filled - expected).max() <= 1
    known = np.broadcast_to(~hole.numpy(), filled.shape)
    assert np.array_equal(filled[known], image.numpy()[known])


GRAPHS = {
    "paper-like, opset 13": (UNetConfig((8, 16, 16), (7, 5, 3), in_channels=2, mean=0.3, std=0.5), 13),
    "trust, opset 17": (UNetConfig((8, 12), (5, 3), mean=0.5, std=0.25, surface="trust", surface_levels=(1,)), 17),
    "complete, opset 13": (COMPLETE, 13),
    "complete, opset 17": (COMPLETE, 17),
    "complete, opset 21": (COMPLETE, 21),
    "noise and blocks without a surface": (
        UNetConfig((6, 8, 8), (3, 3, 3), blocks=(1, 0), noise_levels=1, decoder_slope=0), 17,
    ),
    "a map for each channel, paper-like": (UNetConfig((8, 8), (3, 5), 4, 4), 21),
    "a map for each channel": (
        UNetConfig(
            (6, 8, 8), (5, 3, 3), 3, 3, mean=0.5, std=0.25, surface="correction", surface_levels=(2,), blocks=(1, 1),
            noise_levels=2,
        ), 17,
    ),
    "a map for each channel, in the last skip": (
        UNetConfig((6, 8), (5, 3), 2, 2, surface="correction", surface_skip=True), 13,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=GRAPHS.values(), ids=GRAPHS.keys())
def small(request, tmp_path_factory):
    config, opset = request.param
    torch.manual_seed(0)
    net = some_net(config)
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    save_onnx(net, path, {"made": "up"}, opset=opset)
    assert onnx.load(path).opset_import[0].version == opset
    return net, open_graph(path)


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    known=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    estimated=st.booleans(),
    seed=st.integers(0, 63),
    origin=st.tuples(st.integers(0, 100), st.integers(0, 100)),
    content=st.sampled_from([np.nan, np.inf, 1e30]),
)
def test_any_size_any_holes_and_anything_in_them(small, batch, height, width, known, estimated, seed, origin, content):
    net, graph = small
    config = net.config
    image, valid = random_case(seed, batch, config.in_channels, height, width, known, config.valid_channels)
    estimate = random_case(seed + 1, batch, 1, height, width, 0.3)[1] if estimated else None
    image = torch.where(valid if estimate is None else valid | estimate, image, content)
    options = {"seed": seed, "origin": tuple(4 * place for place in origin), "estimate": estimate}
    filled, expected = fill(graph, image, ~valid, **options), by_torch(net, image, ~valid, **options)
    assert np.abs(filled - expected).max() < 1e-4
    known_values = np.broadcast_to(valid.numpy(), filled.shape)
    assert np.array_equal(filled[known_values], image.numpy()[known_values])


def test_the_holes_have_as_many_maps_as_the_configuration_says(small):
    net, graph = small
    shapes = {value.name: value.shape for value in graph.get_inputs()}
    assert shapes["hole"] == ["batch", net.config.valid_channels, "height", "width"]
    assert ("estimate" in shapes) == (net.config.surface != "none")
    assert ("seed" in shapes) == ("origin" in shapes) == (net.config.noise_levels > 0)
    wrong = 1 if net.config.valid_channels > 1 else 2
    image = torch.rand(1, net.config.in_channels, 8, 8)
    with pytest.raises(Exception, match="Got invalid dimensions for input: hole"):
        fill(graph, image, torch.zeros(1, wrong, 8, 8))


def test_half_precision_halves_the_file(tmp_path):
    net = some_net(PRESETS["tiny"])
    sizes = []
    for half in (False, True):
        save_onnx(net, tmp_path / "net.onnx", {}, fp16_weights=half)
        sizes.append((tmp_path / "net.onnx").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    image, valid = random_case(0, 1, 3, 64, 64, known=0.7)
    filled = fill(open_graph(tmp_path / "net.onnx"), image, ~valid)
    assert np.abs(filled - by_torch(net, image, ~valid)).max() < 0.02


@pytest.mark.parametrize("half", [False, True])
def test_a_graph_may_refer_to_the_weights_in_a_checkpoint(tmp_path, half):
    net = some_net(COMPLETE)
    checkpoint = tmp_path / "net.safetensors"
    save_network(net, checkpoint, {}, torch.float16 if half else None)
    net, _ = load_network(checkpoint)
    for name, weights in (("alone.onnx", None), ("beside.onnx", checkpoint)):
        save_onnx(net, tmp_path / name, {}, fp16_weights=half, weights=weights)
    shipped = onnx.load(tmp_path / "beside.onnx", load_external_data=False)
    outside = [tensor for tensor in shipped.graph.initializer if tensor.external_data]
    assert {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"} == {
        "net.safetensors"
    }
    convolutions = {name for name, parameter in net.named_parameters() if parameter.dim() == 4}
    assert convolutions <= {tensor.name for tensor in outside}
    with_weights = onnx.load(tmp_path / "beside.onnx").graph.initializer
    for one, other in zip(onnx.load(tmp_path / "alone.onnx").graph.initializer, with_weights, strict=True):
        assert one.name == other.name
        assert np.array_equal(onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other))
    image, valid = random_case(0, 1, 3, 30, 30, known=0.7)
    alone, beside = (fill(open_graph(tmp_path / name), image, ~valid) for name in ("alone.onnx", "beside.onnx"))
    assert np.array_equal(alone, beside)


def test_weights_of_another_network_precision_or_folder_are_refused(tmp_path):
    net = some_net(COMPLETE)
    save_network(some_net(COMPLETE), tmp_path / "other.safetensors", {})
    save_network(net, tmp_path / "half.safetensors", {}, torch.float16)
    save_network(net, tmp_path / "net.safetensors", {})
    for name in ("other", "half"):
        with pytest.raises(InputError, match=rf"{name}\.safetensors holds another .* than the graph: give the net"):
            save_onnx(net, tmp_path / "net.onnx", {}, weights=tmp_path / f"{name}.safetensors")
    (tmp_path / "far").mkdir()
    with pytest.raises(InputError, match="a graph finds its weights in its own folder only: write it beside"):
        save_onnx(net, tmp_path / "far" / "net.onnx", {}, weights=tmp_path / "net.safetensors")
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.parametrize("opset", [12, 99])
def test_other_opsets_are_refused(tmp_path, opset):
    with pytest.raises(InputError, match=f"knows opsets up to .* and pconv needs 13; got {opset}"):
        save_onnx(some_net(COMPLETE), Path(tmp_path / "net.onnx"), {}, opset=opset)
