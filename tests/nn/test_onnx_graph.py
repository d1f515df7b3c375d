import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import photo_and_hole, some_net

from pconv import PRESETS, UNetConfig, load_network
from pconv.models import CHECKPOINT, GRAPH, find_model
from pconv.nn.onnx_graph import save_onnx
from pconv.nn.unet import composite


def open_graph(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def fill(session, image, hole):
    return session.run(["filled", "reached"], {"image": image.numpy(), "hole": hole.numpy().astype(np.uint8) * 7})


def by_torch(net, image, hole):
    with torch.inference_mode():
        output, reached = net.predict(image, ~hole)
    return composite(image, output.clamp(0, 1), ~hole).numpy(), reached.numpy()


@pytest.fixture(scope="module")
def default():
    return load_network(find_model("default", CHECKPOINT))


@pytest.fixture(scope="module")
def bundled():
    return open_graph(find_model("default", GRAPH))


@pytest.mark.parametrize(("name", "size"), [("astronaut", (512, 512)), ("cat", (299, 301)), ("coffee", (255, 131))])
def test_the_bundled_graph_fills_real_photos_as_the_bundled_checkpoint_does(default, bundled, name, size):
    image, hole = photo_and_hole(name, *size)
    filled, reached = fill(bundled, image, hole)
    expected, expected_reached = by_torch(default[0], image, hole)
    assert np.abs(filled - expected).max() < 1e-3
    assert np.abs((filled * 255).round() - (expected * 255).round()).max() <= 1
    assert np.array_equal(reached, expected_reached)
    known = np.broadcast_to(~hole.numpy(), filled.shape)
    assert np.array_equal(filled[known], image.numpy()[known])


def test_both_bundled_files_hold_the_same_weights_and_recipe(default, bundled, tmp_path):
    """pconv export default -o src/pconv/models/default.onnx --fp16-weights"""
    network, recipe = default
    save_onnx(network, tmp_path / "again.onnx", recipe, fp16_weights=True)
    again, shipped = onnx.load(tmp_path / "again.onnx"), onnx.load(find_model("default", GRAPH))
    assert again.graph == shipped.graph
    metadata = bundled.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["recipe"]) == recipe
    assert metadata["format"] == "pconv-fill-1"


def test_a_batch_of_three_is_three_pictures(default, bundled):
    parts = [photo_and_hole(name, 120, 97) for name in ("astronaut", "cat", "coffee")]
    image, hole = (torch.cat(x) for x in zip(*parts, strict=True))
    filled, _ = fill(bundled, image, hole)
    assert np.abs(filled - by_torch(default[0], image, hole)[0]).max() < 1e-3
    for number, (one, its_hole) in enumerate(parts):
        assert np.abs(fill(bundled, one, its_hole)[0][0] - filled[number]).max() < 1e-5


def test_uint8_pictures_go_in_and_out(default, tmp_path):
    network, _ = default
    save_onnx(network, tmp_path / "bytes.onnx", {}, image="uint8")
    image, hole = photo_and_hole("cat", 130, 200)
    bytes_in = (image * 255).round().to(torch.uint8)
    filled, _ = fill(open_graph(tmp_path / "bytes.onnx"), bytes_in, hole)
    assert filled.dtype == np.uint8
    expected = (by_torch(network, image, hole)[0] * 255).round()
    assert np.abs(filled - expected).max() <= 1
    known = np.broadcast_to(~hole.numpy(), filled.shape)
    assert np.array_equal(filled[known], bytes_in.numpy()[known])


@pytest.fixture(scope="module", params=[(13, False), (17, True), (21, True), (13, True)])
def small(request, tmp_path_factory):
    """A network of two channels and its graph, in several versions of ONNX."""
    opset, membrane = request.param
    net = some_net(UNetConfig((8, 16, 16), (7, 5, 3), in_channels=2, mean=0.3, std=0.5, membrane=membrane))
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    save_onnx(net, path, {"made": "up"}, opset=opset)
    assert onnx.load(path).opset_import[0].version == opset
    return net, open_graph(path)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_any_size_any_holes_and_nan_in_them(small, batch, height, width, share, seed):
    net, graph = small
    generator = torch.Generator().manual_seed(seed)
    hole = torch.rand(batch, 1, height, width, generator=generator) < share
    image = torch.rand(batch, 2, height, width, generator=generator)
    image = torch.where(hole, torch.nan, image)
    filled, reached = fill(graph, image, hole)
    expected, expected_reached = by_torch(net, image, hole)
    assert np.abs(filled - expected).max() < 1e-4
    assert np.array_equal(reached, expected_reached)


def test_half_precision_halves_the_file(tmp_path):
    net = some_net(PRESETS["tiny"])
    sizes = []
    for half in (False, True):
        save_onnx(net, tmp_path / "net.onnx", {}, fp16_weights=half)
        sizes.append((tmp_path / "net.onnx").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    image, hole = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64) < 0.3
    assert np.abs(fill(open_graph(tmp_path / "net.onnx"), image, hole)[0] - by_torch(net, image, hole)[0]).max() < 0.02
