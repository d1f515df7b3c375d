import math
from functools import cache

import nets
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import COMPLETE, layer_by_layer, random_case
from torch import nn

from pconv import PRESETS, PConvUNet, UNetConfig, load_network
from pconv.models import find_model
from pconv.nn.phases import upsampled_conv3x3
from pconv.nn.surface import smooth_surface
from pconv.nn.unet import Map, ResidualBlock, composite

TINY = PRESETS["tiny"]
GRIDDED = UNetConfig(
    (6, 8, 8), (5, 3, 3), 4, 4, surface="correction", surface_levels=(1,), blocks=(1, 1), noise_levels=2
)
"""Four channels with holes of their own, on the way that the default network takes."""


def some_net(config=TINY):
    return nets.some_net(config).train()


made_once = cache(nets.some_net)


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
    assert [level.slope for level in [*net.encoder, *net.decoder]] == [*[0.0] * 8, *[0.2] * 7, 1.0]
    assert PRESETS["paper"] == UNetConfig(net.config.channels, net.config.kernels)  # every other field as by default
    assert not any(name.endswith("tile") for name in net.state_dict())


def test_the_default_preset_has_the_parameters_of_the_trained_model():
    with torch.device("meta"):
        net = PConvUNet(PRESETS["default"])
    assert sum(p.numel() for p in net.parameters()) == 7_565_135
    assert [len(level.blocks) for level in net.decoder] == [0, 0, 1, 3, 5, 1, 0]
    assert [level.guide_level for level in net.decoder] == [None, None, None, None, 2, 1, 0]
    noise = [level.noise.level if level.noise else 0 for level in net.decoder]
    assert noise == [0, 0, 4, 3, 2, 1, 0]


CONFIGS = {
    "paper-like": TINY,
    "complete": COMPLETE,
    "trust": UNetConfig((6, 8, 8), (5, 3, 3), mean=0.5, std=0.25, surface="trust", blocks=(1,)),
    "noise without a surface": UNetConfig((6, 8), (5, 3), blocks=(0,), noise_levels=1, encoder_slope=0.3),
    "gridded": GRIDDED,
}


@pytest.mark.parametrize("maps", ["one map", "a map for each channel"])
@pytest.mark.parametrize("size", [(64, 64), (33, 70)])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_the_network_equals_whole_layers(config, size, maps):
    net = some_net(config).double().eval()
    channels = config.in_channels
    image, valid = random_case(0, 2, channels, *size, known=0.3, maps=1 if maps == "one map" else channels)
    image = image.double()
    valid[..., : size[0] // 2, : size[1] // 2] = False
    with torch.no_grad():
        got = net(torch.where(valid, image, math.nan), valid, seed=7)
        expected = layer_by_layer(net, image, valid, seed=7)
    assert got.shape == image.shape
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)  # noise is in float32


@pytest.mark.parametrize("config", [TINY, CONFIGS["trust"]], ids=["paper-like", "trust"])
def test_training_mode_and_gradients_equal_whole_layers(config):
    net = some_net(config).double()
    image, valid = random_case(1, 2, 3, 33, 32, known=0.5)
    image = image.double()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    outputs, gradients, statistics = [], [], []
    for forward in (net, lambda *case: layer_by_layer(net, *case)):
        net.load_state_dict(state)
        net.zero_grad()
        outputs.append(forward(image, valid))
        outputs[-1].abs().mean().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
        statistics.append([buffer.clone() for buffer in net.buffers()])
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(*statistics, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", [TINY, COMPLETE, GRIDDED], ids=["paper-like", "complete", "gridded"])
def test_equal_maps_of_all_channels_are_one_map(config):
    net = some_net(config).eval()
    image, valid = random_case(2, 2, config.in_channels, 40, 30, known=0.4)
    with torch.no_grad():
        one = net(image, valid, seed=3)
        every = net(image, valid.expand(-1, config.in_channels, -1, -1), seed=3)
    torch.testing.assert_close(every, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [TINY, COMPLETE, GRIDDED], ids=["paper-like", "complete", "gridded"])
def test_one_map_serves_a_batch(config):
    net = some_net(config).eval()
    image, valid = random_case(2, 3, config.in_channels, 20, 30, known=0.4)
    with torch.no_grad():
        expected = net(image, valid[:1].expand(3, -1, -1, -1))
        assert torch.equal(net(image, valid[:1]), expected)


@pytest.mark.parametrize("config", [TINY, GRIDDED], ids=["paper-like", "gridded"])
def test_a_hole_of_one_channel_leaves_the_others_of_that_place_known(config):
    """What a channel holds in its own hole is not read there; what another channel holds there is."""
    net = some_net(config).eval()
    channels = config.in_channels
    image, valid = random_case(3, 1, channels, 32, 32, known=2)
    valid = valid.repeat(1, channels, 1, 1)
    valid[:, 1, 8:24, 8:24] = False
    hidden, seen = image.clone(), image.clone()
    hidden[:, 1, 8:24, 8:24] = math.nan
    seen[:, 0, 8:24, 8:24] = 0.5
    with torch.no_grad():
        expected = net(image, valid)
        assert torch.equal(net(hidden, valid), expected)
        assert (net(seen, valid) - expected)[:, 1, 8:24, 8:24].abs().max() > 1e-3


@pytest.mark.parametrize("name", ["tiny", "small", "default"])
@pytest.mark.parametrize("size", [(1, 1), (1, 65), (33, 70)])
def test_presets_take_any_size(name, size):
    net = made_once(PRESETS[name])
    image, valid = random_case(0, 2, 3, *size, known=0.5)
    with torch.no_grad():
        output = net(torch.where(valid, image, math.nan), valid)
    assert output.shape == (2, 3, *size)
    assert output.isfinite().all()


@settings(max_examples=30, deadline=None)
@given(
    config=st.sampled_from([TINY, COMPLETE, GRIDDED]),
    batch=st.integers(1, 3),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    known=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    each=st.booleans(),
    content=st.sampled_from([math.nan, math.inf, -math.inf, 1e30, -3.0]),
    seed=st.integers(0, 63),
)
def test_any_size_and_hole_content_changes_nothing(config, batch, height, width, known, each, content, seed):
    net = made_once(config)
    channels = config.in_channels
    image, valid = random_case(seed, batch, channels, height, width, known, channels if each else 1)
    with torch.no_grad():
        output = net(image, valid, seed=seed)
        assert output.shape == image.shape
        assert output.isfinite().all()
        assert torch.equal(net(torch.where(valid, image, content), valid, seed=seed), output)


@pytest.mark.parametrize("channels", [1, 7])
@pytest.mark.parametrize("config", [TINY, COMPLETE], ids=["paper-like", "complete"])
def test_any_number_of_channels(config, channels):
    net = PConvUNet(UNetConfig(**{**vars(config), "in_channels": channels})).eval()
    with torch.no_grad():
        output = net(torch.rand(2, channels, 31, 32), torch.ones(2, 1, 31, 32))
    assert output.shape == (2, channels, 31, 32)
    assert output.isfinite().all()


@pytest.mark.parametrize("config", [COMPLETE, CONFIGS["trust"], GRIDDED], ids=["complete", "trust", "gridded"])
def test_an_estimate_counts_for_the_surface_and_nothing_else(config):
    net = some_net(config).eval()
    image, valid = random_case(4, 2, config.in_channels, 30, 40, known=0.3, maps=config.valid_channels)
    valid[..., 5:25, 5:35] = False
    estimate = torch.zeros(2, 1, 30, 40, dtype=torch.bool)
    estimate[..., 10:20, 10:30] = True
    read = valid | estimate
    with torch.no_grad():
        got = net(image, valid, estimate=estimate)
        expected = layer_by_layer(net, image, valid, estimate=estimate)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        for content in (math.nan, math.inf, 1e30):
            assert torch.equal(net(torch.where(read, image, content), valid, estimate=estimate), got)
        other = torch.where(estimate & ~valid, 1 - image, image)
        assert (net(other, valid, estimate=estimate) - got).abs().max() > 1e-2
        assert torch.equal(net(image, valid, estimate=torch.zeros_like(estimate)), net(image, valid))
        everywhere = valid if valid.shape[1] == 1 else valid.all(1, keepdim=True)
        assert torch.equal(net(image, valid, estimate=everywhere), net(image, valid))  # an estimate of the known


def test_a_network_without_a_surface_ignores_an_estimate():
    net = some_net().eval()
    image, valid = random_case(4, 1, 3, 30, 40, known=0.3)
    with torch.no_grad():
        assert torch.equal(net(image, valid, estimate=~valid), net(image, valid))


def test_what_does_not_fit_is_refused():
    net = PConvUNet(COMPLETE)
    image, valid = torch.rand(2, 3, 8, 8), torch.ones(2, 1, 8, 8)
    with pytest.raises(ValueError, match=r"takes an image \(B, 3, H, W\) .* got \(2, 1, 8, 8\) and \(2, 1, 8, 8\)"):
        net(image[:, :1], valid)
    for other in (torch.ones(2, 2, 8, 8), torch.ones(2, 1, 8, 9), torch.ones(3, 1, 8, 8)):
        with pytest.raises(ValueError, match=r"its validity \(B, 1, H, W\) or \(B, 3, H, W\); got"):
            net(image, other)
    for estimate in (torch.ones(2, 3, 8, 8), torch.ones(2, 1, 9, 8), torch.ones(3, 1, 8, 8)):
        with pytest.raises(ValueError, match=r"estimate must be \(B, 1, H, W\) for an image \(2, 3, 8, 8\); got"):
            net(image, valid, estimate=estimate)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernels": (3,)}, "as many channels as kernels, two levels at least"),
        ({"channels": (8,), "kernels": (3,)}, "two levels at least; got channels"),
        ({"kernels": (3, 4)}, "kernels must be odd"),
        ({"kernels": (3, -1)}, "kernels must be odd"),
        ({"channels": (8, 0)}, "channels and std must be positive"),
        ({"in_channels": 0}, "channels and std must be positive"),
        ({"std": 0.0}, "channels and std must be positive"),
        ({"valid_channels": 2}, r"valid_channels must be 1 or in_channels \(3\); got 2"),
        ({"surface": "membrane"}, "surface must be none, correction or trust; got 'membrane'"),
        ({"surface_skip": True}, "surface_skip and surface_levels need a surface"),
        ({"surface_levels": (1,)}, "surface_skip and surface_levels need a surface"),
        ({"surface": "trust", "surface_levels": (0,)}, r"surface_levels must lie in 1..1; got \(0,\)"),
        ({"surface": "trust", "surface_levels": (1, 2)}, r"surface_levels must lie in 1..1; got \(1, 2\)"),
        ({"blocks": (1, 1)}, r"blocks takes up to 1 counts, for levels 1..1; got \(1, 1\)"),
        ({"blocks": (-1,)}, "blocks takes up to 1 counts"),
        ({"noise_levels": 2}, "noise_levels must lie in 0..1; got 2"),
        ({"noise_levels": -1}, "noise_levels must lie in 0..1; got -1"),
        ({"channels": (8,) * 6, "kernels": (3,) * 6, "noise_levels": 5}, "noise_levels must lie in 0..4; got 5"),
    ],
)
def test_impossible_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**{"channels": (8, 8), "kernels": (3, 3), **fields})


def kaiming(conv, slope):
    return math.sqrt(2 / (1 + slope**2) / conv.weight[0].numel())


@pytest.mark.parametrize("name", ["default", "small"])
def test_weights_begin_as_kaiming_normal_for_the_activation_behind_them(name):
    config = PRESETS[name]
    net = PConvUNet(config)
    expected = [(level.conv, kaiming(level.conv, 0.0)) for level in net.encoder]
    for level in net.decoder[:-1]:
        expected.append((level.conv, kaiming(level.conv, config.decoder_slope)))
        for block in level.blocks:
            expected.append((block.first, kaiming(block.first, config.decoder_slope)))
            expected.append((block.second, kaiming(block.second, 1.0)))
    last = net.decoder[-1].conv
    expected.append((last, kaiming(last, 1.0) * (0.02 if name == "default" else 1)))
    assert len(expected) == sum(isinstance(module, nn.Conv2d) for module in net.modules())
    for conv, std in expected:
        spread = std / math.sqrt(2 * conv.weight.numel())  # of the deviation of so many normal numbers
        assert conv.weight.std().item() == pytest.approx(std, abs=5 * spread)
        assert abs(conv.weight.mean().item()) < 5 * std / math.sqrt(conv.weight.numel())
        assert conv.bias is None or not conv.bias.any()
    strengths = [p.flatten() for name, p in net.named_parameters() if name.endswith("strength")]
    assert len(strengths) == (14 if name == "default" else 0)
    if strengths:
        assert torch.cat(strengths).std().item() == pytest.approx(0.1, rel=0.1)
        assert torch.cat(strengths).mean().abs() < 0.01


def test_a_fresh_block_is_the_identity():
    block = ResidualBlock(8, slope=0.1, noise_level=0)
    features, valid = random_case(0, 2, 8, 12, 10, known=0.2)
    for train in (True, False):
        out, out_valid = block.train(train)(Map(features * valid, valid), None)
        assert torch.equal(out, features * valid)
        assert torch.equal(out_valid, F.max_pool2d(valid.float(), 5, 1, 2) > 0)  # two 3x3 convolutions further
    nn.init.ones_(block.second_norm.weight)
    assert not torch.allclose(block(Map(features * valid, valid), None).features, features * valid, atol=0.1)


def test_a_fresh_default_network_gives_nearly_the_surface():
    net = PConvUNet(PRESETS["default"]).eval()
    image, hole = nets.photo_and_hole("astronaut", 128, 256)
    surface = smooth_surface(torch.where(hole, 0, image - 0.5), ~hole, 7) + 0.5
    with torch.no_grad():
        change = net(image, ~hole) - surface
    assert 0 < change.abs().mean() < 0.02


@pytest.mark.parametrize("config", [COMPLETE, CONFIGS["trust"], GRIDDED], ids=["complete", "trust", "gridded"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_from_nothing_every_parameter_learns(config, precision):
    net = PConvUNet(config)
    ramp = torch.linspace(0, 1, 32).expand(4, config.in_channels, 32, 32)
    truth = torch.where(torch.arange(32)[:, None] % 8 < 4, ramp, 1 - ramp)
    _, valid = random_case(0, 4, 1, 32, 32, known=0.4)
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = net(truth, valid)
        loss = (output.float() - truth)[~valid.expand_as(truth)].abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    assert all(not torch.equal(parameter, before[name]) for name, parameter in net.named_parameters())


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


def test_outer_levels_have_the_same_weights():
    config = UNetConfig(
        (4, 6, 8, 10), (3, 3, 3, 3), surface="correction", surface_skip=True, surface_levels=(1, 3), blocks=(1, 2, 1),
        noise_levels=2,
    )  # fmt: skip
    net = PConvUNet(config)
    outer = net.outer(2)
    assert outer.config == UNetConfig(
        (4, 6), (3, 3), surface="correction", surface_skip=True, surface_levels=(1,), blocks=(1,)
    )
    for name, parameter in outer.named_parameters():
        level = {"decoder.0": "decoder.2", "decoder.1": "decoder.3"}.get(name[:9], name[:9])
        assert torch.equal(parameter, net.get_parameter(level + name[9:])), name
    assert PRESETS["default"].outer(3) == PRESETS["superres"]
    shipped, _ = load_network(find_model("superres"))
    assert shipped.config == PRESETS["superres"]
