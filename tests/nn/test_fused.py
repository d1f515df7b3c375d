import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import photo_and_hole, some_net

from pconv import PRESETS, UNetConfig, load_network
from pconv.models import find_model
from pconv.nn.fused import FusedUNet

CLOSE = 1e-4
"""Of the output's range: what the issue and docs promise."""


def difference(fused, net, image, valid):
    """The largest difference of the outputs as a part of their range; where they are known must agree entirely."""
    with torch.no_grad():
        expected, reached = net.predict(image, valid)
    got, fused_reached = fused.predict(image, valid)
    assert got.shape == expected.shape
    assert got.dtype == torch.float32
    assert torch.equal(fused_reached, reached)
    return ((got - expected).abs().max() / (expected.max() - expected.min()).clamp(min=1e-6)).item()


@pytest.mark.parametrize(("name", "size"), [("astronaut", (512, 512)), ("cat", (299, 301)), ("coffee", (256, 131))])
def test_the_bundled_models_output_stays_what_it_was_on_real_photos(name, size):
    net, _ = load_network(find_model("default"))
    image, hole = photo_and_hole(name, *size)
    assert hole.any()
    assert difference(FusedUNet(net), net, image, ~hole) < CLOSE


NETS = [some_net(PRESETS["tiny"]), some_net(UNetConfig((8, 16, 16), (7, 5, 3), in_channels=2))]


@settings(max_examples=40, deadline=None)
@given(
    net=st.sampled_from(NETS),
    batch=st.integers(1, 3),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    share=st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_any_size_and_any_holes(net, batch, height, width, share, seed):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(batch, 1, height, width, generator=generator) < share
    image = torch.rand(batch, net.config.in_channels, height, width, generator=generator)
    image = torch.where(valid, image, math.nan)
    assert difference(FusedUNet(net), net, image, valid) < CLOSE


def test_the_paper_network_too():
    net = some_net(PRESETS["paper"])
    image, hole = photo_and_hole("cat", 256, 256)
    assert difference(FusedUNet(net), net, image, ~hole) < CLOSE


def test_one_plan_serves_every_picture_with_the_same_holes():
    net = NETS[0]
    fused = FusedUNet(net)
    valid = torch.rand(1, 1, 64, 64) < 0.7
    plan = fused.plan(valid)
    for _ in range(2):
        image = (torch.rand(3, 3, 64, 64) - net.config.mean) / net.config.std
        got = fused.run(image * valid, plan) * net.config.std + net.config.mean
        with torch.no_grad():
            expected = net(image * net.config.std + net.config.mean, valid.expand(3, 1, 64, 64))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_bf16_stays_near_fp32():
    net, _ = load_network(find_model("default"))
    image, hole = photo_and_hole("astronaut", 128, 128)
    with torch.no_grad():
        expected = net(image, ~hole)
    got = FusedUNet(net, torch.bfloat16)(image, ~hole)
    assert got.dtype == torch.float32
    error = (got - expected).abs()[hole.expand_as(got)].mean()
    assert 0 < error < 0.01


def test_it_compiles_as_one_graph_that_serves_every_picture():
    fused = FusedUNet(NETS[0])
    graphs = []

    def count(graph, example):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(fused.run, backend=count, fullgraph=True)
    valid = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    valid[..., 20:40, 10:60] = False
    outputs = []
    for seed in range(3):
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * valid
        outputs.append(compiled(image, fused.plan(valid)))
        assert torch.equal(outputs[-1], fused.run(image, fused.plan(valid)))
    assert len(graphs) == 1
    assert all(not torch.equal(a, b) for a, b in pairwise(outputs))


def test_wrong_channels_are_refused():
    with pytest.raises(ValueError, match="the network takes an image"):
        FusedUNet(NETS[0])(torch.rand(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
