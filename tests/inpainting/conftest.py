import pytest
import torch

from pconv import PRESETS, Inpainter, PConvUNet, save_network


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_network(PConvUNet(PRESETS["tiny"]), path, {"untrained": True})
    return path


@pytest.fixture(scope="session")
def inpainter(tiny_model):
    return Inpainter(tiny_model, device="cpu")
