import importlib.util

import numpy as np
import pytest
import torch

from pconv.errors import EvaluationError, InputError, ModelError
from pconv.evaluation import baselines, methods
from pconv.evaluation.methods import find_methods, our_methods
from pconv.inpainting import tiles as fill
from pconv.nn.checkpoint import save_network
from pconv.nn.plain import FILLS, PlainConfig, PlainUNet, load_plain
from pconv.nn.unet import PRESETS


@pytest.fixture
def pair():
    """A gradient, grey in its hole, and the hole."""
    y, x = np.mgrid[:48, :64]
    truth = np.stack([3 * x, 4 * y, 255 - 3 * x], axis=2).astype(np.uint8)
    hole = np.zeros((48, 64), dtype=bool)
    hole[20:28, 24:36] = True
    return np.where(hole[..., None], np.uint8(127), truth), hole, truth


@pytest.mark.parametrize("name", ["telea", "ns", "biharmonic", "fsr", "patchmatch"])
def test_classical_methods_fill_a_gradient_from_around_it(name, pair):
    """Each has its own polarity, channel order and value range, in which a mistake shows here."""
    holed, hole, truth = pair
    (method,) = find_methods([name], None, 60)
    filled = method.make()(holed, hole)
    assert (filled.dtype, filled.shape) == (np.uint8, truth.shape)
    error = np.abs(filled[hole].astype(int) - truth[hole]).mean()
    assert error < 15, error
    assert np.abs(holed[hole].astype(int) - truth[hole]).mean() > 30
    # FSR leaves known pixels alone only up to rounding; whoever calls keeps the photo's own anyway.
    assert np.abs(filled[~hole].astype(int) - truth[~hole]).max() <= 1


def test_the_mean_colour_is_that_of_known_pixels(pair):
    holed, hole, truth = pair
    filled = baselines.mean_colour(holed, hole)
    assert np.array_equal(filled[hole], np.broadcast_to(truth[~hole].mean(axis=0).round(), (96, 3)))
    assert np.array_equal(filled[~hole], truth[~hole])


def test_a_command_gets_files_and_gives_one(pair, tool):
    holed, hole, truth = pair
    (method,) = find_methods([tool()], None, 60)
    filled = method.make()(holed, hole)
    assert (filled[hole] == (7, 8, 9)).all()
    assert np.array_equal(filled[~hole], truth[~hole])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("fail", "ended with exit code 1: no licence found"),
        ("nothing", "wrote no {out}"),
        ("text", "is no image"),
        ("small", "wrote 10x10 px for a photo of 64x48"),
    ],
)
def test_commands_that_misbehave(pair, tool, how, message):
    (method,) = find_methods([tool(how)], None, 60)
    with pytest.raises(EvaluationError) as error:
        method.make()(*pair[:2])
    assert message in str(error.value)


def test_a_command_is_ended_after_the_limit(pair, tool):
    (method,) = find_methods([tool("hang")], None, 0.5)
    with pytest.raises(TimeoutError, match=r"not done after 0\.5 s"):
        method.make()(*pair[:2])
    with pytest.raises(EvaluationError, match="cannot start no-such-tool: No such file"):
        find_methods(["cmd:no-such-tool {image} {mask} {out}"], None, 1)[0].make()(*pair[:2])


def test_what_our_filling_decides_is_computed_anew_when_it_changes(monkeypatch):
    """The bundled partial network is filled by it too; all others are not."""

    def fingerprints():
        methods = [*our_methods(["default"]), *find_methods(["telea", "mean", "plain"], None, 1)]
        return {method.name: method.fingerprint for method in methods}

    before = fingerprints()
    monkeypatch.setattr(fill, "REVISION", fill.REVISION + 1)
    after = fingerprints()
    assert {name for name in before if before[name] != after[name]} == {"pconv-default", "partial"}


def test_unknown_and_broken_names_are_told(tool):
    with pytest.raises(InputError, match=r"unknown method 'lama'; known are telea, ns, .*plain, and 'cmd:"):
        find_methods(["telea", "lama"], None, 1)
    with pytest.raises(InputError, match=r"has no \{mask\} and no \{out\}"):
        find_methods(["cmd:tool {image}"], None, 1)
    with pytest.raises(InputError, match="cannot be understood"):
        find_methods(["cmd:tool '{image} {mask} {out}"], None, 1)
    names = [method.name for method in find_methods([tool(), tool("slow"), "mean", "mean"], None, 1)]
    assert len(set(names)) == 3


def test_what_is_not_installed_is_told_with_the_command_for_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        methods.importlib.util, "find_spec", lambda name: None if name == "patchmatch" else found(name)
    )
    with pytest.raises(InputError, match=r"patchmatch needs .* not installed: pip install '\.\[evaluate\]'"):
        find_methods(["patchmatch"], None, 1)
    monkeypatch.setattr("cv2.xphoto", None)
    monkeypatch.delattr("cv2.xphoto")
    with pytest.raises(InputError, match=r"fsr needs the module cv2\.xphoto.*pip install '\.\[evaluate\]'"):
        find_methods(["fsr"], None, 1)


def test_our_models_have_names_of_their_own_and_the_files_hash(model, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "model.safetensors"
    other.write_bytes(model.read_bytes())
    first, second = our_methods([str(model), str(other)])
    assert first.name != second.name
    assert (first.ours, second.ours) == (True, False)
    assert first.fingerprint == second.fingerprint
    with pytest.raises(ModelError, match="unknown model 'nothing'"):
        our_methods(["nothing"])
    plain = tmp_path / "plain.safetensors"
    save_network(PlainUNet(PlainConfig(**vars(PRESETS["tiny"]))), plain, {})
    with pytest.raises(ModelError, match="of plain convolutions; give it as --plain-model"):
        our_methods([str(plain)])


def test_a_plain_network_is_plain(tmp_path, pair):
    """It sees its holes filled with a colour, whatever is in them, and nothing of the mask."""
    net = PlainUNet(PlainConfig(**vars(PRESETS["tiny"]), fill=FILLS["imagenet-mean"])).eval()
    image, valid = torch.rand(1, 3, 50, 70), torch.rand(1, 1, 50, 70) > 0.3
    output = net(image, valid)
    assert output.shape == image.shape
    assert torch.equal(net(torch.where(valid, image, torch.full((), torch.nan)), valid), output)
    filled = torch.where(valid, image, torch.tensor(FILLS["imagenet-mean"]).view(1, 3, 1, 1))
    assert torch.equal(net(filled, torch.ones_like(valid)), output)

    path = tmp_path / "plain.safetensors"
    save_network(net, path, {})
    assert torch.equal(load_plain(path)(image, valid), output)
    (method,) = find_methods(["plain"], path, 1)
    assert method.label == "plain convolutions (holes 123.7/116.3/103.5)"
    holed, hole, truth = pair
    assert method.make()(holed, hole).shape == truth.shape


def test_plain_takes_no_partial_network(model, tmp_path):
    with pytest.raises(ModelError, match="is a network of partial convolutions, not of plain ones"):
        load_plain(model)
    with pytest.raises(ModelError, match="no model file at"):
        load_plain(tmp_path / "none")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(ModelError, match="is not a complete safetensors file"):
        load_plain(tmp_path / "text")


def test_an_installed_package_has_no_networks_of_the_ablation_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(methods, "ABLATION", tmp_path / "none")
    with pytest.raises(InputError, match=r"give its checkpoint with --plain-model.*comes with the repository"):
        find_methods(["plain"], None, 1)
