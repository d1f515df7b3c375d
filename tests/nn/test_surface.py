import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import photo_and_hole, random_case, some_net

from pconv import PConvUNet, UNetConfig
from pconv.nn.surface import smooth_surface


def holed(image, valid):
    return torch.where(valid, image, 0)


def test_known_pixels_stay_and_holes_lie_between_them():
    image, hole = photo_and_hole("coffee", 256, 256)
    surface = smooth_surface(holed(image, ~hole), ~hole, 5)
    assert torch.equal(torch.where(hole, 0, surface), torch.where(hole, 0, image))
    assert surface.min() > image.min() - 0.02
    assert surface.max() < image.max() + 0.02


def test_a_plane_of_colours_is_continued_as_a_plane():
    """Where all neighbours lie around the hole the surface of a linear ramp is the ramp itself."""
    ramp = torch.linspace(0, 1, 128).expand(1, 1, 128, 128).contiguous()
    valid = torch.ones(1, 1, 128, 128, dtype=torch.bool)
    valid[..., 50:74, 52:76] = False
    surface = smooth_surface(holed(ramp, valid), valid, 5)
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
    surface = smooth_surface(holed(image, ~hole), ~hole, 5)
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
    surface = smooth_surface(valid.float().expand(-1, 3, -1, -1) * 0.7, valid, 4)
    for one, its_valid in zip(surface, valid, strict=True):
        expected = torch.full_like(one, 0.7 if its_valid.any() else 0.0)
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=0)


def test_gradients_reach_what_is_known():
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(1, 1, 8, 8, generator=generator) < 0.5
    image = (torch.rand(1, 2, 8, 8, generator=generator, dtype=torch.float64) * valid).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: smooth_surface(x * valid, valid, 2), image)


def test_memory_format_does_not_matter():
    image, hole = photo_and_hole("cat", 128, 128)
    known = holed(image, ~hole)
    last = smooth_surface(known.contiguous(memory_format=torch.channels_last), ~hole, 5)
    torch.testing.assert_close(smooth_surface(known, ~hole, 5), last, atol=1e-6, rtol=0)


def test_each_channel_may_have_holes_of_its_own():
    image, valid = random_case(0, 2, 3, 16, 32, known=0.2, maps=3)
    every = smooth_surface(holed(image, valid), valid, 3)
    for channel in range(3):
        at = slice(channel, channel + 1)
        alone = smooth_surface(holed(image, valid)[:, at], valid[:, at], 3)
        torch.testing.assert_close(every[:, at], alone, atol=1e-5, rtol=0)


def test_trust_goes_from_the_surface_to_the_networks_colours():
    image, valid = random_case(1, 1, 3, 32, 32, known=0.5)
    surface = smooth_surface(holed(image - 0.5, valid), valid, 2) + 0.5
    net = some_net(UNetConfig((8, 16), (3, 3), mean=0.5, std=0.25, surface="trust"))
    last = net.decoder[-1].conv
    last.weight.data[-1] = 0
    outputs = []
    for logit in (-100.0, 0.0, 100.0):
        last.bias.data[-1] = logit
        with torch.no_grad():
            outputs.append(net(image, valid))
    least, middle, most = outputs
    torch.testing.assert_close(least, surface, atol=1e-5, rtol=0)
    torch.testing.assert_close(middle, (least + most) / 2, atol=1e-5, rtol=0)
    assert (most - least).abs().mean() > 0.05


def test_trust_is_learned():
    net = PConvUNet(UNetConfig((8, 16), (3, 3), surface="trust"))
    image, valid = random_case(0, 1, 3, 16, 16, known=0.5)
    net(image, valid).sum().backward()
    last = net.decoder[-1].conv
    assert last.weight.shape[0] == 4
    assert last.weight.grad[3].abs().sum() > 0
