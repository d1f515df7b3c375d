from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pconv import PRESETS, Inpainter, InputError, ModelError, PConvUNet, load_network
from pconv.filling import backends
from pconv.filling.backends import BACKENDS, open_backend
from pconv.nn.onnx_graph import save_onnx
from pconv.photos.files import read_photo
from pconv.photos.holes import MaskFile

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture(scope="module")
def tiny_graph(tiny_model, tmp_path_factory):
    network, recipe = load_network(tiny_model)
    path = tmp_path_factory.mktemp("graph") / "tiny.onnx"
    save_onnx(network, path, recipe)
    return path


def test_all_backends_fill_a_real_photo_alike():
    read = read_photo(PHOTOS / "cat.jpg")
    photo, hole = read.pixels, MaskFile(PHOTOS / "cat-mask.png").hole(read)
    filled = [Inpainter(backend=name, precision="fp32")(photo, hole).astype(int) for name in BACKENDS]
    assert len(filled) == 3
    assert max(np.abs(filled[0] - other).max() for other in filled[1:]) <= 1
    assert not np.array_equal(filled[0][hole], photo[hole])


@pytest.mark.parametrize("name", BACKENDS)
def test_what_a_backend_says_of_itself(name, tiny_model, tiny_graph):
    path = tiny_model if name == "torch" else tiny_graph
    backend = open_backend(path, "cpu", name, "fp32")
    said = (backend.name, backend.device, backend.precision, backend.path, backend.channels, backend.recipe)
    assert said == (name, "cpu", "fp32", path, 3, {"untrained": True})


@pytest.mark.parametrize("name", BACKENDS)
def test_a_batch_and_its_pictures_are_filled_alike_from_many_threads(name, tiny_model, tiny_graph):
    backend = open_backend(tiny_model if name == "torch" else tiny_graph, "cpu", name, "fp32")
    generator = np.random.default_rng(0)
    pictures = generator.random((8, 3, 40, 50), dtype=np.float32)
    holes = generator.random((8, 1, 40, 50)) < 0.3
    before = pictures.copy(), holes.copy()
    filled = backend.fill(pictures, holes)
    assert filled.dtype == np.float32
    assert filled.shape == pictures.shape
    known = np.broadcast_to(~holes, pictures.shape)
    assert np.array_equal(filled[known], pictures[known])
    with ThreadPoolExecutor(4) as threads:
        singly = list(threads.map(lambda i: backend.fill(pictures[i : i + 1], holes[i : i + 1])[0], range(8)))
    assert np.abs(np.stack(singly) - filled).max() < 1e-4
    assert all(np.array_equal(a, b) for a, b in zip((pictures, holes), before, strict=True))


@pytest.mark.parametrize(
    ("suffix", "device", "precision", "here", "bf16", "gpu", "chosen"),
    [
        ("", "auto", "auto", {"onnxruntime"}, False, False, "onnxruntime"),
        ("", "auto", "auto", {"onnxruntime", "openvino", "torch"}, False, False, "onnxruntime"),
        ("", "auto", "auto", {"onnxruntime", "openvino", "torch"}, True, False, "openvino"),
        ("", "auto", "auto", {"onnxruntime", "torch"}, True, False, "onnxruntime"),
        ("", "auto", "auto", {"onnxruntime", "openvino", "torch"}, True, True, "torch"),
        ("", "cpu", "auto", {"onnxruntime", "openvino", "torch"}, False, True, "onnxruntime"),
        ("", "cuda", "auto", {"onnxruntime"}, False, False, "torch"),
        ("", "auto", "bf16", {"onnxruntime", "torch"}, False, False, "torch"),
        (".onnx", "auto", "auto", {"onnxruntime", "torch"}, False, True, "onnxruntime"),
        (".safetensors", "auto", "auto", {"onnxruntime"}, False, False, "torch"),
    ],
)
def test_auto_takes_the_fastest_that_can(monkeypatch, suffix, device, precision, here, bf16, gpu, chosen):
    monkeypatch.setattr(backends, "installed", here.__contains__)
    monkeypatch.setattr(backends, "_cpu_has_bf16", lambda: bf16)
    monkeypatch.setattr(backends, "_gpu_usable", lambda: gpu)
    assert backends._fastest(suffix, device, precision) == chosen


def test_auto_opens_what_it_chose(tiny_model, tiny_graph):
    assert open_backend(tiny_model).name == "torch"
    assert open_backend(tiny_graph).name in ("onnxruntime", "openvino")


@pytest.mark.parametrize("missing", ["torch", "openvino"])
def test_a_backend_that_is_missing_says_how_to_get_it(monkeypatch, missing):
    monkeypatch.setattr(backends, "installed", lambda name: name != missing)
    with pytest.raises(InputError, match=rf"the {missing} backend is not installed: pip install 'pconv\[{missing}\]'"):
        Inpainter(backend=missing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorflow"}, "unknown backend 'tensorflow'; known are auto, onnxruntime, openvino, torch"),
        ({"precision": "int8"}, "unknown precision 'int8'; known are auto, fp32, bf16"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "computes in fp32; for bf16"),
        (
            {"backend": "onnxruntime", "device": "cuda"},
            "computes on the cpu, not on 'cuda'; for GPUs, --back",
        ),
        ({"backend": "openvino", "device": "cuda:1"}, "computes on the cpu, not on 'cuda:1'"),
        ({"backend": "torch", "device": "cuda:77"}, "no device 'cuda:77' on this machine"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options, message):
    with pytest.raises(InputError, match=message):
        Inpainter(**options)


def test_models_of_the_wrong_form_for_a_backend(tiny_model, tiny_graph):
    with pytest.raises(InputError, match=r"takes \.safetensors files, not .*tiny\.onnx: use --backend onnxruntime"):
        open_backend(tiny_graph, backend="torch")
    for name in ("onnxruntime", "openvino"):
        with pytest.raises(InputError, match=r"takes \.onnx files, .*--backend torch, or convert it with pconv ex"):
            open_backend(tiny_model, backend=name)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_files_that_are_no_models_of_ours(tmp_path, tiny_model, name):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match=r"text\.onnx cannot be loaded as an ONNX model"):
        open_backend(tmp_path / "text.onnx", backend=name)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [other])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "relu.onnx")
    with pytest.raises(ModelError, match="not one that pconv export wrote"):
        open_backend(tmp_path / "relu.onnx", backend=name)
    network, _ = load_network(tiny_model)
    save_onnx(network, tmp_path / "bytes.onnx", {}, image="uint8")
    with pytest.raises(ModelError, match="takes 8-bit pictures, for use without pconv; export it with --image float"):
        open_backend(tmp_path / "bytes.onnx", backend=name)


def test_torch_computes_in_bf16_when_asked(tiny_model):
    backend = open_backend(tiny_model, "cpu", "torch", "bf16")
    assert backend.precision == "bf16"
    picture = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    hole = np.zeros((1, 1, 64, 64), bool)
    hole[..., 20:30, 20:30] = True
    exact = open_backend(tiny_model, "cpu", "torch", "fp32").fill(picture, hole)
    rough = backend.fill(picture, hole)
    assert 0 < np.abs(rough - exact).max() < 0.1


def test_a_graph_with_more_channels_fills_gridded_data(tmp_path):
    torch.manual_seed(0)
    config = PRESETS["tiny"].__class__((8, 8), (3, 3), in_channels=5)
    save_onnx(PConvUNet(config).eval(), tmp_path / "five.onnx", {})
    fill = Inpainter(tmp_path / "five.onnx")
    data, hole = np.random.default_rng(0).random((20, 30, 5)), np.eye(20, 30, dtype=bool)
    data[hole] = np.nan
    assert np.isfinite(fill(data, hole)).all()


def test_clusters_say_how_many_threads(monkeypatch):
    for wanted, threads in (("3", 3), ("", 0), ("many", 0)):
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
        backend = open_backend("default", backend="onnxruntime")
        assert backend._session.get_session_options().intra_op_num_threads == threads
