import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import COMPLETE, random_case, some_net

from pconv import PRESETS, UNetConfig
from pconv.inpainting.backends import open_backend
from pconv.models import SEEDS
from pconv.nn.fused import FusedUNet
from pconv.nn.noise import SIDE, Noise, NoiseInput, shifts
from pconv.nn.onnx_export import save_onnx

LEVELS = 4
GRID = 2**LEVELS


def some_tile():
    return torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@settings(max_examples=50, deadline=None)
@given(
    top=st.integers(0, 12),
    left=st.integers(0, 12),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    seed=st.integers(0, SEEDS - 1),
    level=st.integers(1, LEVELS),
    maps=st.sampled_from([1, 3]),
)
def test_a_crop_on_the_grid_gets_the_noise_of_its_place_in_the_photo(top, left, height, width, seed, level, maps):
    _, valid = random_case(seed, 2, 1, 16 * GRID, 16 * GRID, known=0.5, maps=maps)
    rows, columns = (slice(at * GRID, (at + length) * GRID) for at, length in ((top, height), (left, width)))
    whole = Noise(valid, LEVELS, seed, (0, 0)).at(level, some_tile())
    crop = Noise(valid[..., rows, columns], LEVELS, seed, (top * GRID, left * GRID)).at(level, some_tile())
    side = 2**level
    of_whole = whole[..., rows.start // side : rows.stop // side, columns.start // side : columns.stop // side]
    assert crop.shape == (2, 1, height * GRID // side, width * GRID // side)
    assert torch.equal(crop, of_whole)
    assert crop.any()


def test_noise_by_hand():
    """Row y, column x of level 2 at seed 3: the tile's (y + 8 + 3 * 23, x + 12 + 3 * 41) modulo 64, times the hole."""
    valid = torch.zeros(1, 2, 16, 16)
    valid[0, 0, :4, :4] = 1  # one of two channels is known in the first cell
    valid[0, :, 4:8, :2] = 1  # and half of the cell below it in both
    got = Noise(valid, 2, 3, (32, 48)).at(2, some_tile())[0, 0]
    for y, x in itertools.product(range(4), range(4)):
        share = 0.5 if (y, x) in ((0, 0), (1, 0)) else 1.0
        assert got[y, x] == share * some_tile()[(y + 8 + 69) % 64, (x + 12 + 123) % 64]


def test_all_seeds_lie_elsewhere_in_the_tile():
    for level in (1, LEVELS):
        places = {shifts(level, seed, (160, 320)) for seed in range(SEEDS)}
        assert len(places) == SEEDS == 64


@pytest.mark.parametrize("seed", [-1, 64, 0.5])
def test_other_seeds_are_refused(seed):
    image, valid = random_case(0, 1, 3, 16, 16, known=0.5)
    net = some_net(COMPLETE)
    for predict in (net, FusedUNet(net)):
        with pytest.raises(ValueError, match=f"seed must be a whole number from 0 to 63; got {seed}"):
            predict(image, valid, seed=seed)


@pytest.mark.parametrize("origin", [(2, 0), (0, 3), (-6, 4)])
def test_places_between_the_cells_are_refused(origin):
    image, valid = random_case(0, 1, 3, 16, 16, known=0.5)
    net = some_net(COMPLETE)
    for predict in (net, FusedUNet(net)):
        with pytest.raises(ValueError, match=r"origin must be a multiple of 4 in both directions; got \("):
            predict(image, valid, origin=origin)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return some_net(COMPLETE)


@pytest.fixture(scope="module")
def forms(net, tmp_path_factory):
    """The network in all forms, each ``predict(image, valid, seed=, origin=)`` with the composite, clipped."""
    path = tmp_path_factory.mktemp("noise") / "net.onnx"
    save_onnx(net, path, {})
    fused = FusedUNet(net)

    def composited(predict):
        def run(image, valid, **where):
            with torch.no_grad():
                return torch.where(valid, image, predict(image, valid, **where).clamp(0, 1))

        return run

    def opened(name):
        backend = open_backend(path, "cpu", name, "fp32")
        return lambda image, valid, **where: torch.tensor(backend.fill(image.numpy(), ~valid.numpy(), **where))

    return {"eager": composited(net), "fused": composited(fused)} | {
        name: opened(name) for name in ("onnxruntime", "openvino")
    }


FORMS = ("eager", "fused", "onnxruntime", "openvino")


@pytest.mark.parametrize("form", FORMS)
def test_a_fill_is_the_same_to_the_bit_each_time(forms, form):
    image, valid = random_case(5, 2, 3, 33, 40, known=0.3)
    first = forms[form](image, valid, seed=11, origin=(8, 20))
    assert torch.equal(forms[form](image, valid, seed=11, origin=(8, 20)), first)


@pytest.mark.parametrize("form", FORMS)
def test_another_seed_fills_the_holes_in_another_way(forms, form):
    image, valid = random_case(6, 1, 3, 24, 24, known=0.3)
    fills = [forms[form](image, valid, seed=seed) for seed in range(SEEDS if form == "fused" else 4)]
    for one, other in itertools.combinations(fills, 2):
        assert (one - other)[~valid.expand_as(one)].abs().mean() > 1e-3
    assert all(torch.equal(torch.where(valid, fill, 0), torch.where(valid, image, 0)) for fill in fills)


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_take_the_noise_of_the_same_place(forms, form):
    image, valid = random_case(7, 1, 3, 40, 24, known=0.3)
    for seed, origin in ((0, (0, 0)), (63, (4, 0)), (17, (1000, 60)), (17, (60, 1000))):
        expected = forms["eager"](image, valid, seed=seed, origin=origin)
        got = forms[form](image, valid, seed=seed, origin=origin)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
        assert (forms[form](image, valid, seed=seed, origin=(origin[0] + 4, origin[1])) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_where_nothing_but_the_noise_differs_a_crop_is_filled_as_the_photo(forms, form):
    """Nothing is known, so surface and mask are the same everywhere, and only the border changes the features."""
    nothing = torch.zeros(1, 3, 128, 128), torch.zeros(1, 1, 128, 128, dtype=torch.bool)
    whole = forms[form](*nothing, seed=5)
    top, left = 16, 24
    border = 5 * 4 + 3 * 2 + 1 + 5  # five convolutions at level 2, three at level 1, one at level 0, and padding
    crop = forms[form](*(each[..., top:, left:] for each in nothing), seed=5, origin=(top, left))
    inner = slice(border, -border)
    torch.testing.assert_close(crop[..., inner, inner], whole[..., top:, left:][..., inner, inner], rtol=0, atol=1e-5)
    assert crop[..., inner, inner].std() > 0.02
    moved = forms[form](*(each[..., top:, left:] for each in nothing), seed=5)
    assert (moved - crop)[..., inner, inner].abs().mean() > 0.01


def test_without_holes_there_is_no_noise(net):
    image, valid = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(net(image, valid, seed=0), net(image, valid, seed=1))


def test_training_takes_fresh_noise_from_torchs_generator():
    net = some_net(COMPLETE).train()
    image, valid = random_case(8, 2, 3, 16, 16, known=0.3)

    def output(generator_seed, **options):
        torch.manual_seed(generator_seed)
        return net(image, valid, **options)

    first = output(1)
    assert torch.equal(output(1), first)
    assert torch.equal(output(1, seed=9, origin=(8, 8)), first)
    assert not torch.equal(output(2), first)
    assert not torch.equal(net(image, valid), output(2))  # fresh in each call
    first.mean().backward()
    strengths = [parameter for name, parameter in net.named_parameters() if name.endswith("strength")]
    assert len(strengths) == 5
    assert all(strength.grad.abs().sum() > 0 for strength in strengths)


def test_fresh_noise_has_the_holes_share_and_the_strength():
    own = NoiseInput(2, 1)
    own.strength.data = torch.tensor([1.0, 3.0])
    valid = torch.zeros(1, 1, 128, 128)
    valid[..., ::2, :64] = 1
    added = own(Noise(valid, 1, None, (0, 0)))
    assert added.shape == (1, 2, 64, 64)
    deviations = [half.std((0, 2, 3)).tolist() for half in (added[..., :32], added[..., 32:])]
    np.testing.assert_allclose(deviations, [[0.5, 1.5], [1.0, 3.0]], rtol=0.1)


@pytest.mark.parametrize("config", [PRESETS["tiny"], UNetConfig((4, 6), (3, 3))], ids=["tiny", "paper-like"])
def test_networks_without_noise_inputs_ignore_seed_and_place(config, tmp_path):
    assert PRESETS["paper"].noise_levels == PRESETS["tiny"].noise_levels == 0
    net = some_net(config)
    save_onnx(net, tmp_path / "net.onnx", {})
    backend = open_backend(tmp_path / "net.onnx", "cpu", "onnxruntime")
    assert not backend.noise
    image, valid = random_case(9, 1, 3, 32, 32, known=0.5)
    for predict in (torch.no_grad()(net), FusedUNet(net)):
        assert torch.equal(predict(image, valid, seed=5, origin=(16, 16)), predict(image, valid))
    fills = [backend.fill(image.numpy(), ~valid.numpy(), **where) for where in ({}, {"seed": 5, "origin": (16, 16)})]
    assert np.array_equal(*fills)
