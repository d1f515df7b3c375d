import math

import nets
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pconv import PRESETS, PConvUNet, UNetConfig
from pconv.nn.phases import upsampled_conv3x3
from pconv.nn.unet import composite

TINY = PRESETS["tiny"]


def as_the_paper_writes_it(net, image, valid):
    """SPEC section 2 with the layer alone: upsample, concatenate features and validity groups, convolve."""
    config = net.config
    pad = (0, -image.shape[3] % config.multiple, 0, -image.shape[2] % config.multiple)
    features = F.pad((image - config.mean) / config.std, pad)
    valid = F.pad(valid.float(), pad)
    skips = []
    for level in net.encoder:
        skips.append((features, valid))
        features, valid = level.conv(features, valid)
        features = F.relu(level.norm(features))
    for level in net.decoder:
        skip, skip_valid = skips.pop()
        features = F.interpolate(features, scale_factor=2, mode="nearest")
        valid = F.interpolate(valid.float(), scale_factor=2, mode="nearest")
        groups = [(valid, features.shape[1]), (skip_valid, skip.shape[1])]
        features, valid = level.conv(torch.cat([features, skip], 1), groups)
        if level is not net.decoder[-1]:
            features = F.leaky_relu(level.norm(features), 0.2)
    return features[..., : image.shape[2], : image.shape[3]] * config.std + config.mean


def some_net(config=TINY):
    return nets.some_net(config).train()


def test_the_paper_preset_has_the_papers_layers_and_parameters():
    with torch.device("meta"):
        net = PConvUNet(PRESETS["paper"])
    assert sum(p.numel() for p in net.parameters()) == 32_859_796
    assert [(level.conv.in_channels, level.conv.out_channels) for level in net.decoder] == [
        (1024, 512), (1024, 512), (1024, 512), (1024, 512), (768, 256), (384, 128), (192, 64), (67, 3),
    ]  # fmt: skip
    assert [level.conv.kernel_size[0] for level in net.encoder] == [7, 5, 5, 3, 3, 3, 3, 3]
    convolutions = [level.conv for level in [*net.encoder, *net.decoder]]
    assert [i for i, conv in enumerate(convolutions) if conv.bias is not None] == [0, 15]
    norms = [isinstance(level.norm, nn.BatchNorm2d) for level in [*net.encoder, *net.decoder]]
    assert norms == [False, *[True] * 14, False]
    assert net.config.mean == 0
    assert net.config.std == 1


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (33, 70)])
def test_the_network_equals_the_paper_layer_by_layer(train, size):
    net = some_net().double().train(train)
    image, valid = torch.rand(2, 3, *size, dtype=torch.float64), torch.rand(2, 1, *size) < 0.3
    valid[..., : size[0] // 2, : size[1] // 2] = False
    state = {name: value.clone() for name, value in net.state_dict().items()}
    got = net(torch.where(valid, image, math.nan), valid)
    net.load_state_dict(state)
    expected = as_the_paper_writes_it(net, image, valid)
    assert got.shape == image.shape
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_gradients_equal_those_of_the_paper_layer_by_layer():
    net = some_net().double()
    image, valid = torch.rand(2, 3, 32, 32, dtype=torch.float64), torch.rand(2, 1, 32, 32) < 0.5
    gradients = []
    for forward in (lambda: net(image, valid), lambda: as_the_paper_writes_it(net, image, valid)):
        net.zero_grad()
        forward().abs().mean().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    for ours, papers in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, papers, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("size", [(1, 1), (1, 65), (31, 32), (100, 3)])
def test_any_size_and_any_number_of_channels(size, channels):
    net = PConvUNet(UNetConfig(TINY.channels, TINY.kernels, in_channels=channels)).eval()
    with torch.no_grad():
        out = net(torch.rand(2, channels, *size), torch.ones(2, 1, *size))
    assert out.shape == (2, channels, *size)
    assert out.isfinite().all()


def test_hole_content_changes_nothing():
    net = some_net().eval()
    image, valid = torch.rand(1, 3, 48, 48), torch.rand(1, 1, 48, 48) < 0.4
    with torch.no_grad():
        expected = net(image, valid)
        for content in (math.nan, math.inf, 1e30, -3.0):
            assert torch.equal(net(torch.where(valid, image, content), valid), expected)


def test_wrong_channels_or_validity_are_refused():
    net = PConvUNet(TINY)
    with pytest.raises(ValueError, match=r"takes an image \(B, 3, H, W\) .* got \(1, 1, 8, 8\) and \(1, 1, 8, 8\)"):
        net(torch.rand(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
    with pytest.raises(ValueError, match="its validity"):
        net(torch.rand(1, 3, 8, 8), torch.ones(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("channels", "kernels", "message"),
    [((8, 8), (3,), "as many channels as kernels"), ((8, 8), (3, 4), "odd"), ((8, 0), (3, 3), "positive")],
)
def test_impossible_configurations_are_refused(channels, kernels, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(channels, kernels)


def test_composite_takes_known_pixels_from_the_image_even_beside_nan():
    image, output = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[math.nan, 5.0]]]])
    assert composite(image, output, torch.tensor([[[[1, 0]]]])).tolist() == [[[[1.0, 5.0]]]]


@pytest.mark.parametrize("shape", [(2, 5, 17, 16), (1, 1, 1, 1), (1, 3, 2, 129), (2, 3, 7, 9)])
def test_the_phase_form_equals_upsampling_then_convolving(shape):
    features = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, shape[1], 3, 3, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(F.interpolate(features, scale_factor=2, mode="nearest"), weight, padding=1)
    got = upsampled_conv3x3(features, weight)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(got, (features, weight), cotangent),
        torch.autograd.grad(expected, (features, weight), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
