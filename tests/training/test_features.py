import hashlib
import logging
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from servers import serving

from pconv.errors import TrainingError
from pconv.training.features import VGG_SHA256, VGG_URL, VGG16Features, load_vgg

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Their places in torchvision's ``vgg16().features``."""
SHARED = Path(__file__).parents[3] / "shared/weights/vgg16_blocks12.safetensors"


def test_parameters_have_torchvisions_names_and_shapes():
    vgg = VGG16Features()
    assert list(vgg.state_dict()) == [f"features.{i}.{kind}" for i in CONVOLUTIONS for kind in ("weight", "bias")]
    assert sum(p.numel() for p in vgg.parameters()) == 14_714_688  # torchvision's vgg16 without its classifier
    assert not any(p.requires_grad for p in vgg.parameters())
    assert list(VGG16Features(2).state_dict()) == list(vgg.state_dict())[:8]
    assert not VGG16Features(1).train().training
    for blocks in (0, 6):
        with pytest.raises(ValueError, match=f"has blocks 1 to 5, got blocks={blocks}"):
            VGG16Features(blocks)


def test_features_layer_by_layer():
    vgg = VGG16Features(2)
    weights = vgg.state_dict()
    pictures = torch.rand(2, 3, 16, 20)
    x = (pictures - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    expected = []
    for block in ((0, 2), (5, 7)):
        for i in block:
            x = F.relu(F.conv2d(x, weights[f"features.{i}.weight"], weights[f"features.{i}.bias"], padding=1))
        x = F.max_pool2d(x, 2)
        expected.append(x)
    for pool, reference in zip(vgg(pictures), expected, strict=True):
        torch.testing.assert_close(pool, reference)
    assert [pool.shape[1:] for pool in expected] == [(64, 8, 10), (128, 4, 5)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pooling_before_the_last_relu_changes_neither_values_nor_gradients(memory_format):
    vgg = VGG16Features(1).to(memory_format=memory_format)
    first, second = vgg.features[0], vgg.features[2]
    pictures = torch.rand(2, 3, 16, 20).contiguous(memory_format=memory_format).requires_grad_()
    usual = F.max_pool2d(F.relu(second(F.relu(first((pictures - vgg.mean) / vgg.std)))), 2)
    (pool,) = vgg(pictures)
    assert torch.equal(pool, usual)
    assert (pool == 0).any()  # windows without a positive value, whose gradient is 0
    towards = torch.randn_like(pool)
    gradients = [torch.autograd.grad(x, pictures, towards)[0] for x in (pool, usual)]
    assert torch.equal(*gradients)


def test_no_more_pools_than_asked_for():
    vgg = VGG16Features(3)
    vgg.features[10].register_forward_pre_hook(lambda *_: pytest.fail("block 3 was computed"))
    assert [pool.shape[1] for pool in vgg(torch.rand(1, 3, 16, 16), 2)] == [64, 128]
    assert len(VGG16Features(1)(torch.rand(1, 3, 16, 16), 3)) == 1


def test_it_runs_under_autocast():
    vgg, pictures = VGG16Features(1), torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        (pool,) = vgg(pictures)
    assert pool.dtype == torch.bfloat16
    torch.testing.assert_close(pool.float(), vgg(pictures)[0], atol=0.03, rtol=0.03)


def test_grey_is_seen_as_grey_and_other_channels_are_refused():
    vgg = VGG16Features(1)
    grey = torch.rand(1, 1, 8, 8)
    assert torch.equal(vgg(grey)[0], vgg(grey.expand(-1, 3, -1, -1))[0])
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) or \(B, 1, H, W\), got \(1, 4, 8, 8\)"):
        vgg(torch.rand(1, 4, 8, 8))


@pytest.fixture(scope="module")
def two_blocks():
    torch.manual_seed(0)
    return VGG16Features(2).state_dict()


def test_a_torchvision_file_is_read_and_its_classifier_ignored(tmp_path, two_blocks):
    torch.save({**two_blocks, "classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg16.pth")
    vgg = load_vgg(tmp_path / "vgg16.pth", blocks=2)
    assert vgg.blocks == 2
    assert all(torch.equal(vgg.state_dict()[name], value) for name, value in two_blocks.items())
    assert not vgg.training
    assert load_vgg(tmp_path / "vgg16.pth", blocks=1).blocks == 1


def test_a_file_of_two_blocks_gives_two_pools_and_says_so(tmp_path, two_blocks, caplog):
    path = tmp_path / "vgg.safetensors"
    save_file(two_blocks, path)
    with caplog.at_level(logging.WARNING, "pconv"):
        vgg = load_vgg(path)
    assert len(vgg(torch.rand(1, 3, 16, 16))) == 2
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path} has only the first 2 of VGG-16's blocks")


def test_an_incomplete_block_does_not_count(tmp_path, two_blocks, caplog):
    without = {name: value for name, value in two_blocks.items() if name != "features.7.bias"}
    save_file(without, tmp_path / "vgg.safetensors")
    assert load_vgg(tmp_path / "vgg.safetensors").blocks == 1
    assert "only the first 1 of VGG-16's blocks" in caplog.text


def test_files_that_are_no_vgg_are_refused(tmp_path):
    (tmp_path / "text.pth").write_text("nothing")
    (tmp_path / "text.safetensors").write_text("nothing")
    torch.save({"features.0.weight": torch.zeros(64, 3, 5, 5)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "bytes.pth").write_bytes(bytes(range(256)) * 4)
    first = VGG16Features(1).state_dict()
    torch.save({**first, "features.2.bias": torch.zeros(65)}, tmp_path / "shape.pth")
    torch.save({**first, "features.2.bias": "text"}, tmp_path / "type.pth")
    torch.save({**first, "features.16.weight": torch.zeros(256, 256, 3, 3)}, tmp_path / "vgg19.pth")
    for name, message in {
        "none.pth": "no file of VGG-16 weights",
        "text.pth": "is not a file of weights, or is damaged",
        "text.safetensors": "is not a file of weights, or is damaged",
        "other.pth": "holds no weights of VGG-16",
        "list.pth": "holds no weights of VGG-16",
        "bytes.pth": "is not a file of weights, or is damaged",
        "shape.pth": r"is not VGG-16: its features.2.bias is \(65,\), not \(64,\)",
        "type.pth": r"is not VGG-16: its features.2.bias is None, not \(64,\)",
        "vgg19.pth": "is not VGG-16, which has no features.16.weight",
    }.items():
        with pytest.raises(TrainingError, match=f"{message}.*; give a file with --vgg PATH"):
            load_vgg(tmp_path / name)


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared weights are not here")
def test_the_shared_weights_are_normalised_for_pictures_in_0_to_1():
    """Their maker rescaled every layer to a mean activation of 1 over natural photos."""
    photos = SHARED.parents[1] / "data/photos-dev"
    crops = [np.array(Image.open(path).convert("RGB"))[:256, :256] for path in sorted(photos.glob("*.jpg"))[:8]]
    pools = load_vgg(SHARED)(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 255)
    assert len(pools) == 2
    assert all(0.7 < pool.mean() < 3 for pool in pools)


class Server(ThreadingHTTPServer):
    """Serves ``content`` after ``failures`` broken answers."""

    content = b""
    failures = 0
    requests = 0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        if self.server.requests <= self.server.failures:
            self.wfile.write(self.server.content[:100])
            return
        self.wfile.write(self.server.content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, two_blocks, monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)
    torch.hub.set_dir(tmp_path / "hub")
    torch.save(two_blocks, tmp_path / "weights.pth")
    running = Server(("127.0.0.1", 0), Handler)
    running.content = (tmp_path / "weights.pth").read_bytes()
    with serving(running):
        running.vgg = {"url": f"{running.url}/vgg16.pth", "sha256": hashlib.sha256(running.content).hexdigest()}
        yield running
    monkeypatch.setattr(torch.hub, "_hub_dir", None)


def test_weights_are_downloaded_once_to_torchvisions_place(server, two_blocks, tmp_path):
    for _ in range(2):
        vgg = load_vgg(blocks=2, **server.vgg)
        assert torch.equal(vgg.state_dict()["features.7.weight"], two_blocks["features.7.weight"])
    assert server.requests == 1
    assert (tmp_path / "hub" / "checkpoints" / "vgg16.pth").is_file()
    assert VGG_SHA256.startswith(VGG_URL.rpartition("-")[2].removesuffix(".pth"))


def test_a_broken_connection_is_tried_again(server):
    server.failures = 2
    assert load_vgg(blocks=2, **server.vgg).blocks == 2
    assert server.requests == 3


def test_without_a_network_it_says_how_to_go_on(server):
    server.failures = 99
    with pytest.raises(TrainingError, match=r"cannot download http.*; give a file with --vgg PATH"):
        load_vgg(blocks=2, **server.vgg)
    with pytest.raises(TrainingError, match="cannot download http"):
        load_vgg(blocks=2, url="http://127.0.0.1:9/vgg16.pth")
