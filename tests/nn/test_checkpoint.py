import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import COMPLETE, random_case, some_net
from safetensors.torch import load_file, save_file

from pconv import PRESETS, ModelError, UNetConfig, load_network, save_network
from pconv.nn.checkpoint import FORMAT

DATA = Path(__file__).parent / "data"
CONFIGS = {"tiny": PRESETS["tiny"], "complete": COMPLETE, "maps": UNetConfig((4, 6), (3, 3), 5, 5, surface="trust")}


@pytest.fixture
def net():
    return some_net(PRESETS["tiny"])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_file_rebuilds_the_network_and_its_recipe(config, tmp_path):
    net, path = some_net(config), tmp_path / "net.safetensors"
    save_network(net, path, {"steps": 7, "photos": "some"})
    again, recipe = load_network(path)
    assert again.config == net.config
    assert recipe == {"steps": 7, "photos": "some"}
    assert not again.training
    image, valid = random_case(0, 1, config.in_channels, 40, 40, known=0.5)
    with torch.no_grad():
        assert torch.equal(again(image, valid, seed=3), net(image, valid, seed=3))
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_checkpoint_of_the_first_format_gives_what_it_gave():
    """Written when the configuration said ``membrane``, for UNetConfig((8, 8, 16), (5, 3, 3), 0.5, 0.25, membrane)."""
    network, _ = load_network(DATA / "format-1.safetensors")
    assert network.config == UNetConfig((8, 8, 16), (5, 3, 3), mean=0.5, std=0.25, surface="trust")
    case = {name: torch.tensor(array) for name, array in np.load(DATA / "format-1.npz").items()}
    with torch.no_grad():
        output = network(case["image"], case["valid"])
    torch.testing.assert_close(output, case["output"], atol=1e-5, rtol=0)


def test_half_precision_halves_the_file_and_loads_as_fp32(net, tmp_path):
    save_network(net, tmp_path / "full.safetensors", {})
    save_network(net, tmp_path / "half.safetensors", {}, torch.float16)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * (tmp_path / "full.safetensors").stat().st_size
    again, _ = load_network(tmp_path / "half.safetensors")
    assert all(p.dtype == torch.float32 for p in again.parameters())
    for ours, theirs in zip(again.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_files_that_are_no_checkpoints(net, tmp_path):
    with pytest.raises(ModelError, match="no model file at"):
        load_network(tmp_path / "missing.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("not a model")
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        load_network(text)
    path = tmp_path / "net.safetensors"
    save_network(net, path, {})
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        load_network(cut)


@pytest.mark.parametrize(
    ("came", "message"),
    [
        (None, f"is not a model of pconv: its metadata says format None, and '{FORMAT}' was expected"),
        ("pconv-fill-2", f"is not a model of pconv: its metadata says format 'pconv-fill-2', and '{FORMAT}' was"),
        ("pconv-unet-new", "is not a model of pconv: its metadata says format 'pconv-unet-new'"),
        (
            "pconv-unet-3",
            f"has the format 'pconv-unet-3', and this pconv reads up to '{FORMAT}': install a newer pconv",
        ),
        ("pconv-unet-17", "has the format 'pconv-unet-17'.* install a newer pconv"),
    ],
)
def test_foreign_and_newer_files_are_refused_in_one_sentence(tmp_path, came, message):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path, came and {"format": came, "config": '{"unknown": 1}'})
    with pytest.raises(ModelError, match=f"^{re.escape(str(path))} {message}") as refusal:
        load_network(path)
    assert "\n" not in str(refusal.value)


def test_loading_is_strict(net, tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(net, path, {})
    tensors = load_file(path)
    config = json.dumps({"channels": [16, 32, 64, 64, 64], "kernels": [5, 5, 3, 3, 3], "mean": 0.5, "std": 0.25})
    tensors.pop("decoder.0.conv.weight")
    save_file(tensors, path, {"format": FORMAT, "config": config})
    with pytest.raises(ModelError, match=r"not those of its network: Missing key.*decoder\.0\.conv\.weight"):
        load_network(path)
    for broken in ('{"depth": 3}', '{"channels": [8, 8], "kernels": [4, 4]}', "[]", "{", None):
        save_file(tensors, path, {"format": FORMAT} | ({"config": broken} if broken else {}))
        with pytest.raises(ModelError, match="does not describe a network"):
            load_network(path)
