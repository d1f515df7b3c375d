import pytest
import torch
from safetensors.torch import load_file, save_file

from pconv import PRESETS, ModelError, PConvUNet, load_network, save_network
from pconv.nn.checkpoint import FORMAT


@pytest.fixture
def net():
    net = PConvUNet(PRESETS["tiny"])
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
    return net.eval()


def test_a_file_rebuilds_the_network_and_its_recipe(net, tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(net, path, {"steps": 7, "photos": "some"})
    again, recipe = load_network(path)
    assert again.config == net.config
    assert recipe == {"steps": 7, "photos": "some"}
    assert not again.training
    picture, valid = torch.rand(1, 3, 40, 40), torch.rand(1, 1, 40, 40) < 0.5
    with torch.no_grad():
        assert torch.equal(again(picture, valid), net(picture, valid))
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


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
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, foreign)
    with pytest.raises(ModelError, match=f"not a checkpoint of pconv.*expected '{FORMAT}'"):
        load_network(foreign)


def test_loading_is_strict(net, tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(net, path, {})
    tensors = load_file(path)
    config = '{"channels": [16, 32, 64, 64, 64], "kernels": [5, 5, 3, 3, 3], "mean": 0.5, "std": 0.25}'
    tensors.pop("decoder.0.conv.weight")
    save_file(tensors, path, {"format": FORMAT, "config": config})
    with pytest.raises(ModelError, match=r"not those of its network: Missing key.*decoder\.0\.conv\.weight"):
        load_network(path)
    save_file(tensors, path, {"format": FORMAT, "config": '{"depth": 3}'})
    with pytest.raises(ModelError, match="does not describe a network"):
        load_network(path)
