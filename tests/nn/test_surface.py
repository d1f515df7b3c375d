import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import photo_and_hole, some_net

from pconv import UNetConfig
from pconv.nn.membrane import membrane
from pconv.nn.unet import FIRST_TRUST, PConvUNet, with_membrane


def holed(image, valid):
    return torch.where(valid, image, 0)


def test_known_pixels_stay_and_holes_lie_between_them():
    image, hole = photo_and_hole("coffee", 256, 256)
    surface = membrane(holed(image, ~hole), ~hole, 5)
    assert torch.equal(torch.where(hole, 0, surface), torch.where(hole, 0, image))
    assert surface.min() > image.min() - 0.02
    assert surface.max() < image.max() + 0.02


def test_a_plane_of_colours_is_continued_as_a_plane():
    """Where all neighbours lie around the hole the membrane of a linear ramp is the ramp itself."""
    ramp = torch.linspace(0, 1, 128).expand(1, 1, 128, 128).contiguous()
    valid = torch.ones(1, 1, 128, 128, dtype=torch.bool)
    valid[..., 50:74, 52:76] = False
    surface = membrane(holed(ramp, valid), valid, 5)
    assert (surface - ramp).abs().max() < 0.01
    mean = ramp[valid].mean()
    assert (ramp - mean)[~valid].abs().max() > 0.05  # a constant would not do


def test_it_is_close_to_the_solution_of_laplaces_equation():
    image, hole = photo_and_hole("cat", 64, 64)
    hole = torch.zeros_like(hole)
    hole[..., 20:40, 16:44] = True
    exact = torch.where(hole, image.mean(), image)
    for _ in range(4000):
        p = torch.nn.functional.pad(exact, (1, 1, 1, 1), mode="replicate")
        around = (p[..., 1:-1, 2:] + p[..., 1:-1, :-2] + p[..., 2:, 1:-1] + p[..., :-2, 1:-1]) / 4
        exact = torch.where(hole, around, image)
    surface = membrane(holed(image, ~hole), ~hole, 5)
    contrast = (exact - exact[hole.expand_as(exact)].mean())[hole.expand_as(exact)].abs().mean()
    assert (surface - exact)[hole.expand_as(exact)].abs().mean() < 0.15 * contrast


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 3), width=st.integers(1, 3), share=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_a_constant_stays_constant_whatever_the_holes(height, width, share, seed):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(2, 1, 16 * height, 16 * width, generator=generator) < share
    surface = membrane(valid.float().expand(-1, 3, -1, -1) * 0.7, valid, 4)
    for one, its_valid in zip(surface, valid, strict=True):
        expected = torch.full_like(one, 0.7 if its_valid.any() else 0.0)
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=0)


def test_gradients_reach_what_is_known():
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(1, 1, 8, 8, generator=generator) < 0.5
    image = (torch.rand(1, 2, 8, 8, generator=generator, dtype=torch.float64) * valid).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: membrane(x * valid, valid, 2), image)


def test_memory_format_does_not_matter():
    image, hole = photo_and_hole("cat", 128, 128)
    known = holed(image, ~hole)
    last = membrane(known.contiguous(memory_format=torch.channels_last), ~hole, 5)
    torch.testing.assert_close(membrane(known, ~hole, 5), last, atol=1e-6, rtol=0)


def test_a_trained_network_gets_a_membrane_and_keeps_its_colours():
    config = UNetConfig((8, 16, 16), (7, 5, 3), mean=0.5, std=0.25)
    plain = some_net(config)
    grown = with_membrane(plain).eval()
    image, hole = photo_and_hole("cat", 64, 64)
    known = torch.where(hole, 0.5, image)
    surface = membrane((known - 0.5) / 0.25, ~hole, 3) * 0.25 + 0.5
    trust = torch.sigmoid(torch.tensor(FIRST_TRUST))
    with torch.no_grad():
        expected = surface + trust * (plain(image, ~hole) - surface)
        torch.testing.assert_close(grown(image, ~hole), expected, atol=1e-5, rtol=1e-5)


def test_trust_is_learned():
    net = PConvUNet(UNetConfig((8, 16), (3, 3), membrane=True))
    image = torch.rand(1, 3, 16, 16)
    valid = torch.rand(1, 1, 16, 16) < 0.5
    net(image, valid).sum().backward()
    last = net.levels[1][-1].conv
    assert last.weight.shape[0] == 4
    assert last.weight.grad[3].abs().sum() > 0


@pytest.mark.parametrize("image", [np.nan, np.inf])
def test_what_lies_in_holes_is_never_read(image):
    net = some_net(UNetConfig((8, 16), (3, 3), membrane=True))
    known = torch.rand(1, 3, 20, 20)
    valid = torch.rand(1, 1, 20, 20) < 0.5
    with torch.no_grad():
        assert torch.equal(net(torch.where(valid, known, image), valid), net(known, valid))
