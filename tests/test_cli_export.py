"""``pconv export``, ``pconv info``, and the choice of what computes."""

import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from PIL import Image

from pconv import PRESETS, PConvUNet, save_network
from pconv.cli import main


def pconv(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    hole = np.zeros((40, 50), bool)
    hole[10:20, 10:20] = True
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(hole).save(tmp_path / "mask.png")
    save_network(PConvUNet(PRESETS["tiny"]), tmp_path / "tiny.safetensors", {"learned": "nothing"})
    return tmp_path


def test_a_checkpoint_becomes_a_graph_that_fills_the_same(files):
    out = files / "tiny.onnx"
    said = pconv("export", files / "tiny.safetensors", "-o", out, "--opset", 18).output
    assert re.search(r"tiny\.onnx: \d\.\d MB, opset 18, image float", said)
    model = onnx.load(out)
    assert model.opset_import[0].version == 18
    assert json.loads({p.key: p.value for p in model.metadata_props}["recipe"]) == {"learned": "nothing"}
    pictures = []
    for name in ("tiny.safetensors", "tiny.onnx"):
        pconv(
            "inpaint", files / "photo.png", files / "mask.png", "--model", files / name,
            "--precision", "fp32", "-o", files / f"{name}.png",
        )  # fmt: skip
        pictures.append(np.asarray(Image.open(files / f"{name}.png")).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_a_graph_for_use_without_pconv(files):
    pconv("export", files / "tiny.safetensors", "-o", files / "t.onnx", "--image", "uint8", "--fp16-weights")
    session = onnxruntime.InferenceSession(files / "t.onnx")
    kinds = {value.name: (value.type, value.shape) for value in [*session.get_inputs(), *session.get_outputs()]}
    assert kinds == {
        "image": ("tensor(uint8)", ["batch", 3, "height", "width"]),
        "hole": ("tensor(uint8)", ["batch", 1, "height", "width"]),
        "filled": ("tensor(uint8)", ["batch", 3, "height", "width"]),
        "predicted": ("tensor(uint8)", ["batch", 3, "height", "width"]),
    }


def test_a_graph_beside_its_checkpoint_stores_no_weights(files):
    for form, options in (("alone", []), ("beside", ["--external-data"])):
        pconv("export", files / "tiny.safetensors", "-o", files / f"{form}.onnx", *options)
        photo_and_mask = files / "photo.png", files / "mask.png"
        pconv("inpaint", *photo_and_mask, "--model", files / f"{form}.onnx", "-o", files / f"{form}.png")
    assert (files / "beside.onnx").stat().st_size < 0.2 * (files / "alone.onnx").stat().st_size
    assert (files / "beside.png").read_bytes() == (files / "alone.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("nothing -o out.onnx", 2, "unknown model 'nothing'"),
        ("tiny.safetensors -o out.bin", 2, "out.bin would be an ONNX file: give it the suffix .onnx"),
        ("tiny.safetensors -o no/out.onnx", 2, "does not exist; make it"),
        ("tiny.safetensors -o out.onnx --opset 99", 2, "this onnx package knows opsets up to"),
        ("tiny.safetensors -o out.onnx --opset 9", 2, "9 is not in the range"),
        (
            "default -o out.onnx --external-data",
            2,
            "a graph finds its weights in its own folder only: write it beside",
        ),
        (
            "tiny.safetensors -o out.onnx --external-data --fp16-weights",
            2,
            "tiny.safetensors holds another encoder.0.",
        ),
        ("photo.png -o out.onnx", 1, "photo.png is not a complete safetensors file"),
    ],
)
def test_export_refuses_in_a_sentence(files, monkeypatch, arguments, code, message):
    monkeypatch.chdir(files)
    before = set(files.iterdir())
    assert message in pconv("export", *arguments.split(), code=code).output
    assert set(files.iterdir()) == before


def test_info_lists_backends_devices_and_models():
    said = pconv("info").output
    for name in ("onnxruntime", "openvino", "torch"):
        assert re.search(rf"backend {name}: \d[\w.+]*, on .*cpu", said), said
    assert len(re.findall(r"model default: .*, \d+\.\d MB, sha256 [0-9a-f]{64}", said)) == 2


def test_verbose_says_what_computes(files):
    common = ["inpaint", files / "photo.png", files / "mask.png", "-o", files / "out.png"]
    said = pconv(*common, "-v", "--backend", "torch", "--precision", "fp32").output
    assert "default.safetensors with torch on cpu in fp32" in said
    assert "with" not in pconv(*common).output


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--backend", "tensorflow"), "unknown backend 'tensorflow'"),
        (("--precision", "int8"), "unknown precision 'int8'"),
        (("--backend", "onnxruntime", "--device", "cuda"), "computes on the cpu"),
        (("--backend", "onnxruntime", "--model", "tiny.safetensors"), "use --backend torch"),
    ],
)
def test_a_choice_that_cannot_be_is_wrong_usage(files, monkeypatch, option, message):
    monkeypatch.chdir(files)
    assert message in pconv("inpaint", "photo.png", "mask.png", "-o", "out.png", *option, code=2).output
    assert not (files / "out.png").exists()
