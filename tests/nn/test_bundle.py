"""The bundled graph, whose weights are in the bundled checkpoint."""

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from nets import COMPLETE, random_case, some_net

from pconv import Inpainter, ModelError, load_network, save_network
from pconv.inpainting.backends import open_backend
from pconv.models import BUNDLED, GRAPH, find_model
from pconv.nn.onnx_export import save_onnx

BACKENDS = ["onnxruntime", "openvino"]


def constants(path):
    """Name, shape, type and place of each of a graph's constants, and the values of those that it stores itself."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    kinds = [
        (each.name, tuple(each.dims), each.data_type, {entry.key: entry.value for entry in each.external_data})
        for each in tensors
    ]
    return kinds, [onnx.numpy_helper.to_array(each) for each in tensors if not each.external_data]


@pytest.mark.parametrize("name", BUNDLED)
def test_the_graph_is_the_one_that_export_makes_of_the_checkpoint(tmp_path, name):
    """To make it again, and then correct its line in SHA256SUMS (sha256sum *.onnx *.safetensors):

    pconv export default -o src/pconv/models/default.onnx --fp16-weights --external-data
    """
    checkpoint, shipped = find_model(name), find_model(name, GRAPH)
    beside = tmp_path / checkpoint.name
    shutil.copy(checkpoint, beside)
    network, recipe = load_network(beside)
    save_onnx(network, tmp_path / "again.onnx", recipe, fp16_weights=True, weights=beside)
    again, before = (onnx.load(path, load_external_data=False) for path in (tmp_path / "again.onnx", shipped))
    assert list(again.graph.node) == list(before.graph.node)
    assert list(again.graph.input) == list(before.graph.input)
    assert list(again.graph.output) == list(before.graph.output)
    assert {p.key: p.value for p in again.metadata_props} == {p.key: p.value for p in before.metadata_props}
    (kinds, values), (shipped_kinds, shipped_values) = constants(tmp_path / "again.onnx"), constants(shipped)
    assert kinds == shipped_kinds
    for ours, theirs in zip(values, shipped_values, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", BUNDLED)
def test_every_weight_of_the_graph_is_in_the_checkpoint(name):
    kinds, values = constants(find_model(name, GRAPH))
    outside = [kind for kind in kinds if kind[3]]
    network, _ = load_network(find_model(name))
    parameters = dict(network.named_parameters())
    assert {name for name, parameter in parameters.items() if parameter.dim() == 4} <= {kind[0] for kind in outside}
    assert {kind[3]["location"] for kind in outside} == {f"{name}.safetensors"}
    assert sum(value.nbytes for value in values) < 400_000


@pytest.fixture
def pair(tmp_path):
    """A network's graph and checkpoint in a folder, a case, and what they fill it with."""
    folder = tmp_path / "real"
    folder.mkdir()
    net = some_net(COMPLETE)
    save_network(net, folder / "net.safetensors", {})
    save_onnx(net, folder / "net.onnx", {}, weights=folder / "net.safetensors")
    image, valid = random_case(0, 1, 3, 16, 24, known=0.5)
    with torch.no_grad():
        filled = torch.where(valid, image, net(image, valid).clamp(0, 1))
    return folder, (image.numpy(), ~valid.numpy()), filled.numpy()


def same_folder(folder):
    return folder


def linked_folder(folder):
    (folder.parent / "link").symlink_to(folder)
    return folder.parent / "link"


def linked_files(folder):
    other = folder.parent / "links"
    other.mkdir()
    for path in folder.iterdir():
        (other / path.name).symlink_to(path)
    return other


def hard_links(folder):
    other = folder.parent / "hard"
    other.mkdir()
    for path in folder.iterdir():
        os.link(path, other / path.name)
    return other


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("place", [same_folder, linked_folder, linked_files, hard_links])
def test_a_graph_finds_its_weights(pair, backend, place, monkeypatch, tmp_path):
    """From anywhere, and however an installer links files from its cache."""
    folder, case, expected = pair
    where = place(folder)
    (tmp_path / "elsewhere").mkdir()
    for working, path in (
        (tmp_path / "elsewhere", where / "net.onnx"),
        (tmp_path / "elsewhere", Path("..") / where.name / "net.onnx"),
        (where, Path("net.onnx")),
    ):
        monkeypatch.chdir(working)
        filled = open_backend(path, "cpu", backend, "fp32").fill(*case)
        assert np.abs(filled - expected).max() < 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_without_its_weights_is_refused_in_one_line(pair, backend):
    folder, _, _ = pair
    (folder / "net.safetensors").unlink()
    with pytest.raises(ModelError, match=r"net\.onnx cannot be loaded as an ONNX model; give one that") as refusal:
        open_backend(folder / "net.onnx", "cpu", backend)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("backend", [*BACKENDS, "torch"])
def test_the_bundled_model_opens_from_any_working_directory(backend, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    image, hole = np.full((20, 20, 3), 200, np.uint8), np.eye(20, dtype=bool)
    filled = Inpainter(backend=backend, device="cpu", precision="fp32")(image, hole)
    assert np.abs(filled.astype(int) - 200).max() < 60
