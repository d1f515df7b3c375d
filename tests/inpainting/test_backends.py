import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pconv import Inpainter, InputError, ModelError, PConvUNet, UNetConfig, load_network, save_network
from pconv.images.reading import read_photo
from pconv.inpainting import backends
from pconv.inpainting.backends import BACKENDS, open_backend
from pconv.masks.reader import MaskFile
from pconv.nn.onnx_export import save_onnx

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
FORMAT_1 = Path(__file__).parents[1] / "nn" / "data" / "format-1"


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
    assert backend.multiple == 32
    assert not backend.noise


def test_signals_are_handled_after_openvino_models_are_freed(tiny_graph):
    code = """
import pathlib, signal, sys
from pconv.inpainting.backends import OpenVinoBackend
first, second = (OpenVinoBackend(pathlib.Path(sys.argv[1])) for _ in range(2))
del first
del second
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", code, tiny_graph], capture_output=True, text=True, check=True)
    assert done.stdout == "handled\n"


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


@pytest.fixture(scope="module")
def noisy_files(tmp_path_factory):
    """A network with surface, blocks and noise inputs, as checkpoint and as graph."""
    torch.manual_seed(0)
    config = UNetConfig(
        (6, 8), (5, 3), mean=0.5, std=0.25, surface="correction", surface_skip=True, blocks=(1,), noise_levels=1
    )
    network = PConvUNet(config).eval()
    torch.nn.init.normal_(network.decoder[-1].conv.weight, 0, 0.1)
    folder = tmp_path_factory.mktemp("noisy")
    save_network(network, folder / "noisy.safetensors", {})
    save_onnx(network, folder / "noisy.onnx", {})
    return {name: folder / ("noisy.safetensors" if name == "torch" else "noisy.onnx") for name in BACKENDS}


def test_backends_fill_alike_with_every_seed_place_and_estimate(noisy_files):
    opened = [open_backend(path, "cpu", name, "fp32") for name, path in noisy_files.items()]
    assert all(backend.noise for backend in opened)
    generator = np.random.default_rng(1)
    images = generator.random((2, 3, 24, 30), dtype=np.float32)
    holes = generator.random((2, 1, 24, 30)) < 0.6
    estimate = generator.random((2, 1, 24, 30)) < 0.5
    cases = [
        {},
        {"seed": 63},
        {"seed": 63, "origin": (10, 4)},
        {"seed": 63, "origin": (4, 10)},
        {"estimate": estimate},
    ]
    fills = [[backend.fill(images, holes, **case) for case in cases] for backend in opened]
    for others in fills[1:]:
        for one, other in zip(fills[0], others, strict=True):
            assert np.abs(one - other).max() < 1e-4
    for number, one in enumerate(fills[0]):
        assert all(np.abs(one - other).max() > 1e-3 for other in fills[0][number + 1 :])


@pytest.mark.parametrize("name", BACKENDS)
def test_nothing_in_a_hole_is_read(noisy_files, name):
    backend = open_backend(noisy_files[name], "cpu", name, "fp32")
    generator = np.random.default_rng(2)
    images = generator.random((1, 3, 24, 30), dtype=np.float32)
    holes = generator.random((1, 1, 24, 30)) < 0.6
    estimate = holes & (generator.random((1, 1, 24, 30)) < 0.5)
    expected, estimated = backend.fill(images, holes), backend.fill(images, holes, estimate=estimate)
    for content in (np.nan, np.inf, 1e30):
        assert np.array_equal(backend.fill(np.where(holes, np.float32(content), images), holes), expected)
        unknown = np.where(holes & ~estimate, np.float32(content), images)
        assert np.array_equal(backend.fill(unknown, holes, estimate=estimate), estimated)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_network_of_the_first_format_fills_as_it_did(name):
    path = FORMAT_1.with_suffix(".safetensors" if name == "torch" else ".onnx")
    backend = open_backend(path, "cpu", name, "fp32")
    case = np.load(FORMAT_1.with_suffix(".npz"))
    hole = ~case["valid"]
    for options in ({}, {"seed": 5, "origin": (16, 16), "estimate": hole}):  # inputs that it has not are left out
        if name == "torch" and options:
            continue  # the checkpoint is a network of today, which starts from estimates
        filled = backend.fill(case["image"], hole, **options)
        expected = np.where(hole, case["output"].clip(0, 1), case["image"])
        assert np.abs(filled - expected).max() < 1e-5
    assert not backend.noise


@pytest.mark.parametrize(
    ("suffix", "device", "precision", "here", "gpu", "chosen"),
    [
        ("", "auto", "auto", {"onnxruntime"}, False, "onnxruntime"),
        ("", "auto", "auto", {"onnxruntime", "openvino", "torch"}, False, "onnxruntime"),
        ("", "auto", "auto", {"openvino", "torch"}, False, "openvino"),
        ("", "auto", "auto", {"onnxruntime", "openvino", "torch"}, True, "torch"),
        ("", "cpu", "auto", {"onnxruntime", "openvino", "torch"}, True, "onnxruntime"),
        ("", "cuda", "auto", {"onnxruntime"}, False, "torch"),
        ("", "auto", "bf16", {"onnxruntime", "torch"}, False, "torch"),
        ("", "auto", "bf16", {"onnxruntime", "openvino", "torch"}, False, "torch"),
        (".onnx", "auto", "auto", {"onnxruntime", "torch"}, True, "onnxruntime"),
        (".safetensors", "auto", "auto", {"onnxruntime"}, False, "torch"),
    ],
)
def test_auto_takes_the_fastest_that_can(monkeypatch, suffix, device, precision, here, gpu, chosen):
    monkeypatch.setattr(backends, "installed", here.__contains__)
    monkeypatch.setattr(backends, "_gpu_usable", lambda: gpu)
    assert backends._fastest(suffix, device, precision) == chosen


def test_auto_opens_what_it_chose(tiny_model, tiny_graph):
    assert open_backend(tiny_model).name == "torch"
    assert open_backend(tiny_graph).name in ("onnxruntime", "openvino")


@pytest.mark.parametrize("missing", ["torch", "openvino"])
def test_a_backend_that_is_missing_says_how_to_get_it(monkeypatch, missing):
    monkeypatch.setattr(backends, "installed", lambda name: name != missing)
    with pytest.raises(InputError, match=rf"the {missing} backend is not installed: pip install {missing}"):
        Inpainter(backend=missing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorflow"}, "unknown backend 'tensorflow'; known are auto, onnxruntime, openvino, torch"),
        ({"precision": "int8"}, "unknown precision 'int8'; known are auto, fp32, bf16"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "computes in fp32; for bf16"),
        ({"backend": "openvino", "precision": "bf16"}, "computes in fp32; for bf16"),
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
    with pytest.raises(ModelError, match="takes 8-bit images, for use without pconv"):
        open_backend(tmp_path / "bytes.onnx", backend=name)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "pconv-fill-3",
            "has the format 'pconv-fill-3', and this pconv reads up to 'pconv-fill-2': install a newer",
        ),
        (
            "pconv-unet-2",
            "is not a model of pconv: its metadata says format 'pconv-unet-2', and 'pconv-fill-2' was",
        ),
        (
            "something",
            "is not a model of pconv: its metadata says format 'something', and 'pconv-fill-2' was",
        ),
    ],
)
def test_newer_and_other_graphs_are_refused_in_one_sentence(tmp_path, tiny_graph, name, said, message):
    model = onnx.load(tiny_graph)
    (entry,) = (each for each in model.metadata_props if each.key == "format")
    entry.value = said
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=rf"other\.onnx {message}") as refusal:
        open_backend(tmp_path / "other.onnx", backend=name)
    assert "\n" not in str(refusal.value)


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
    data, hole = np.random.default_rng(0).random((20, 30, 5)), np.eye(20, 30, dtype=bool)
    data[hole] = np.nan
    for maps in (1, 5):
        network = PConvUNet(UNetConfig((8, 8), (3, 3), 5, maps, surface="correction")).eval()
        save_network(network, tmp_path / "five.safetensors", {})
        save_onnx(network, tmp_path / "five.onnx", {})
        by_graph, by_torch = (
            Inpainter(tmp_path / f"five.{form}", precision="fp32")(data, hole) for form in ("onnx", "safetensors")
        )
        assert np.isfinite(by_graph).all()
        assert np.abs(by_graph - by_torch).max() < 1e-4


def test_clusters_say_how_many_threads(monkeypatch):
    for wanted, threads in (("3", 3), ("", 0), ("many", 0)):
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
        backend = open_backend("default", backend="onnxruntime")
        assert backend._session.get_session_options().intra_op_num_threads == threads


@pytest.fixture
def case():
    image = np.random.default_rng(0).random((1, 3, 40, 50), dtype=np.float32)
    hole = np.zeros((1, 1, 40, 50), bool)
    hole[..., 10:20, 10:30] = True
    return image, hole


def test_known_pixels_are_predicted_too_when_asked(tiny_model, tiny_graph, case):
    image, hole = case
    network, _ = load_network(tiny_model)
    with torch.no_grad():
        expected = network(torch.from_numpy(image), torch.from_numpy(~hole)).clamp(0, 1).numpy()
    for name in BACKENDS:
        backend = open_backend(tiny_model if name == "torch" else tiny_graph, "cpu", name, "fp32")
        predicted = backend.fill(image, hole, everywhere=True)
        assert np.abs(predicted - expected).max() < 1e-4
        assert not np.allclose(predicted, image, atol=0.1)
        assert np.array_equal(backend.fill(image, hole)[~hole.repeat(3, 1)], image[~hole.repeat(3, 1)])


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_graphs_of_before_fill_and_refuse_to_predict(tmp_path, tiny_graph, case, name):
    model = onnx.load(tiny_graph)
    del model.graph.output[1]
    onnx.save(model, tmp_path / "before.onnx")
    backend = open_backend(tmp_path / "before.onnx", "cpu", name)
    assert np.isfinite(backend.fill(*case)).all()
    with pytest.raises(ModelError, match=r"before\.onnx gives filled images alone, .*; export it again"):
        backend.fill(*case, everywhere=True)
