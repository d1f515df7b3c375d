import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import COMPLETE, photo_and_hole, random_case, some_net

from pconv import PRESETS, UNetConfig, load_network
from pconv.models import find_model
from pconv.nn.fused import FusedUNet
from pconv.nn.unet import finish, prepare

CLOSE = 1e-4
"""Of the output's range: what docs promise."""

MAPS = UNetConfig((6, 8, 8), (5, 3, 3), 3, 3, surface="correction", surface_levels=(1,), blocks=(1, 1), noise_levels=2)
NETS = {
    "tiny": PRESETS["tiny"],
    "two channels": UNetConfig((8, 16, 16), (7, 5, 3), in_channels=2),
    "complete": COMPLETE,
    "trust": UNetConfig((8, 16), (5, 3), mean=0.5, std=0.25, surface="trust", surface_levels=(1,)),
    "a map for each channel": MAPS,
}


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    return {name: some_net(config) for name, config in NETS.items()}


def difference(net, image, valid, **options):
    """The largest difference of the fused output, as a part of the output's range."""
    with torch.no_grad():
        expected = net(image, valid, **options)
    got = FusedUNet(net)(image, valid, **options)
    assert got.shape == expected.shape
    assert got.dtype == torch.float32
    return ((got - expected).abs().max() / (expected.max() - expected.min()).clamp(min=1e-6)).item()


@pytest.mark.parametrize(("name", "size"), [("astronaut", (256, 384)), ("coffee", (255, 131))])
def test_the_bundled_model_on_real_photos(name, size):
    net, _ = load_network(find_model("default"))
    image, hole = photo_and_hole(name, *size)
    assert hole.any()
    assert difference(net, image, ~hole, seed=3) < CLOSE


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(NETS)),
    batch=st.integers(1, 3),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    known=st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]),
    each=st.booleans(),
    estimated=st.booleans(),
    seed=st.integers(0, 63),
)
def test_any_size_and_any_holes(nets, name, batch, height, width, known, each, estimated, seed):
    net = nets[name]
    channels = net.config.in_channels
    image, valid = random_case(seed, batch, channels, height, width, known, channels if each else 1)
    estimate = random_case(seed + 1, batch, 1, height, width, 0.3)[1] if estimated else None
    image = torch.where(valid if estimate is None else valid | estimate, image, math.nan)
    assert difference(net, image, valid, seed=seed, origin=(8, 4), estimate=estimate) < CLOSE


def test_one_plan_serves_every_image_with_the_same_holes(nets):
    net = nets["complete"]
    fused = FusedUNet(net)
    _, valid = random_case(0, 1, 1, 64, 64, known=0.7)
    plan = fused.plan(valid, seed=4)
    for number in range(2):
        image, _ = random_case(number, 3, 3, 64, 64, known=1)
        inputs = prepare(net.config, image, valid)
        got = finish(net.config, fused.run(inputs, plan), inputs.surface)
        with torch.no_grad():
            torch.testing.assert_close(got, net(image, valid, seed=4), atol=1e-5, rtol=1e-5)


def test_bf16_stays_near_fp32():
    net, _ = load_network(find_model("default"))
    image, hole = photo_and_hole("astronaut", 128, 128)
    with torch.no_grad():
        expected = net(image, ~hole)
    got = FusedUNet(net, torch.bfloat16)(image, ~hole)
    assert got.dtype == torch.float32
    error = (got - expected).abs()[hole.expand_as(got)].mean()
    assert 0 < error < 0.002


def test_it_compiles_as_one_graph_that_serves_every_image(nets):
    net = nets["complete"]
    fused = FusedUNet(net)
    graphs = []

    def count(graph, example):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(fused.run, backend=count, fullgraph=True)
    valid = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    valid[..., 20:40, 10:60] = False
    outputs = []
    for seed in range(3):
        image, _ = random_case(seed, 1, 3, 64, 64, known=1)
        inputs, plan = prepare(net.config, image, valid), fused.plan(valid, seed=seed)
        outputs.append(compiled(inputs, plan))
        assert torch.equal(outputs[-1], fused.run(inputs, plan))
    assert len(graphs) == 1
    assert all(not torch.equal(a, b) for a, b in pairwise(outputs))


@pytest.mark.slow
def test_compiled_to_machine_code_it_gives_the_same():
    net = some_net(UNetConfig((4, 4), (3, 3), surface="correction", surface_skip=True, noise_levels=1))
    image, valid = random_case(1, 1, 3, 8, 8, known=0.5)
    fused = FusedUNet(net)
    inputs, plan = prepare(net.config, image, valid), fused.plan(valid, seed=3)
    got = torch.compile(fused.run, fullgraph=True, dynamic=False)(inputs, plan)
    with torch.no_grad():
        torch.testing.assert_close(
            finish(net.config, got, inputs.surface), net(image, valid, seed=3), atol=1e-5, rtol=1e-5
        )


def test_wrong_channels_are_refused(nets):
    with pytest.raises(ValueError, match="the network takes an image"):
        FusedUNet(nets["tiny"])(torch.rand(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
