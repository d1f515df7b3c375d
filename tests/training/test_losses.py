"""Every loss term of the paper against loops over plain numpy arrays, and what must hold whatever the numbers are."""

import itertools
import math

import numpy as np
import pydantic
import pytest
import torch
from torch import nn

from pconv.training.features import VGG16Features
from pconv.training.losses import (
    InpaintingLoss,
    LossWeights,
    gram,
    gram_distance,
    hole_loss,
    perceptual_loss,
    rim_loss,
    rim_weight,
    style_loss,
    total_variation_loss,
    valid_loss,
)


@pytest.fixture
def vgg():
    return VGG16Features(2).double()


def example(batch=2, size=12, dtype=torch.float64):
    output, truth = torch.rand(2, batch, 3, size, size, dtype=dtype)
    valid = torch.rand(batch, 1, size, size) < 0.6
    return output, truth, valid


def test_l_valid_and_l_hole_by_hand():
    truth = torch.zeros(1, 2, 2, 2)
    output = torch.tensor([[[[1.0, -2.0], [3.0, 4.0]], [[10.0, 20.0], [-30.0, 40.0]]]])
    valid = torch.tensor([[[[True, False], [False, True]]]])
    # Averaged over all 8 elements, not over the hole's.
    assert valid_loss(output, truth, valid).item() == (1 + 4 + 10 + 40) / 8
    assert hole_loss(output, truth, valid).item() == (2 + 3 + 20 + 30) / 8
    whole = (output - truth).abs().mean()
    assert valid_loss(output, truth, valid) + hole_loss(output, truth, valid) == whole


def test_the_rim_term_by_hand():
    """Depth 1 and 2 px with a reach of 2 px count 2/3 and 1/2; the share of hole is 2/4, balanced to 0.3."""
    truth, output = torch.zeros(1, 1, 2, 2), torch.tensor([[[[9.0, 3.0], [4.0, 9.0]]]])
    valid = torch.tensor([[[[True, False], [False, True]]]])
    distance = torch.tensor([[[[0.0, 1.0], [2.0, 0.0]]]]).half()
    weight = rim_weight(valid, distance, 2.0, 1.0)
    assert torch.allclose(weight, 0.6 * torch.tensor([[[[0, 2 / 3], [1 / 2, 0]]]]))
    expected = 0.6 * (2 / 3 * math.sqrt(9 + 1e-6) + 1 / 2 * math.sqrt(16 + 1e-6)) / 4
    assert rim_loss(output, truth, valid, distance, 2.0, 1.0).item() == pytest.approx(expected, rel=1e-6)
    loss = InpaintingLoss(LossWeights(0, 0, 0, 0, 0, rim=2.0), balance=1.0, rim_reach=2.0)
    total, terms = loss(output, truth, valid, distance)
    assert total.item() == pytest.approx(2 * expected, rel=1e-6)
    assert set(terms) == {"rim"}
    with pytest.raises(ValueError, match="needs each hole pixel's distance"):
        loss(output, truth, valid)


def test_the_rim_terms_gradient_is_finite_where_output_and_truth_agree():
    output = torch.zeros(1, 1, 2, 2, requires_grad=True)
    valid = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    rim_loss(output, torch.zeros(1, 1, 2, 2), valid, torch.ones(1, 1, 2, 2), 2.0).backward()
    assert output.grad.eq(0).all()


def test_gram_distances_of_a_batch_are_those_of_its_images():
    features, truth = torch.rand(2, 3, 4, 6, 6)
    hole = (torch.rand(3, 1, 12, 12) < 0.5).float()
    together = gram_distance([features], [truth], hole)
    alone = [
        gram_distance([f[None]], [t[None]], h[None]).item() for f, t, h in zip(features, truth, hole, strict=True)
    ]
    assert together.tolist() == pytest.approx(alone, rel=1e-5)
    assert together.min() > 0


def test_l_perc_by_hand():
    features = [torch.tensor([[[[1.0, 2.0]], [[3.0, 5.0]]]]), torch.tensor([[[[7.0]]]])]
    truth = [torch.tensor([[[[1.0, 4.0]], [[0.0, 5.0]]]]), torch.tensor([[[[3.0]]]])]
    assert perceptual_loss(features, truth).item() == (2 + 3) / 4 + 4 / 1  # N_p: 4 elements, 1 element


def numpy_gram(features):
    """K_p Psi^T Psi of one picture's ``(C, H, W)`` features, K_p = 1 / (C H W)."""
    channels, height, width = features.shape
    result = np.zeros((channels, channels))
    for a, b in itertools.product(range(channels), repeat=2):
        for y, x in itertools.product(range(height), range(width)):
            result[a, b] += features[a, y, x] * features[b, y, x]
    return result / (channels * height * width)


def test_gram_by_hand():
    features = torch.tensor([[[[1.0, 2.0, 0.0]], [[3.0, -1.0, 4.0]]]])  # C = 2, H W = 3
    k = 1 / (2 * 3)
    expected = [[k * (1 + 4), k * (3 - 2)], [k * (3 - 2), k * (9 + 1 + 16)]]
    torch.testing.assert_close(gram(features), torch.tensor([expected]))
    random = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = np.stack([numpy_gram(picture) for picture in random.numpy()])
    np.testing.assert_allclose(gram(random).numpy(), expected)
    channels_last = random.contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(gram(channels_last).numpy(), expected)


def test_l_style_by_hand():
    """The factor 1 / (C C) comes on top of K_p; two layers of different widths are added."""
    features = [torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 2, 2, 2, dtype=torch.float64)]
    truth = [torch.randn_like(layer) for layer in features]
    expected = 0.0
    for layer, truth_layer in zip(features, truth, strict=True):
        channels = layer.shape[1]
        for picture, truth_picture in zip(layer.numpy(), truth_layer.numpy(), strict=True):
            difference = np.abs(numpy_gram(picture) - numpy_gram(truth_picture)).sum()
            expected += difference / (channels * channels) / 2  # averaged over the batch of 2
    assert style_loss([gram(f) for f in features], [gram(f) for f in truth]).item() == pytest.approx(expected)


def test_gram_does_not_know_where_pixels_are():
    features = torch.randn(2, 8, 6, 7)
    shuffled = features.flatten(2)[..., torch.randperm(42)].view_as(features)
    torch.testing.assert_close(gram(shuffled), gram(features))


def test_gram_of_large_half_precision_features_is_fp32_and_finite():
    features = torch.full((1, 4, 128, 128), 200.0, dtype=torch.float16)
    with torch.autocast("cpu", torch.bfloat16):
        result = gram(features)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.full((1, 4, 4), 200.0**2 / 4))


def numpy_tv(picture, valid):
    """L_tv of ``(B, C, H, W)`` by its definition, pair by pair."""
    batch, channels, height, width = picture.shape
    total = 0.0
    for b in range(batch):
        region = set()
        for y, x in itertools.product(range(height), range(width)):
            near = itertools.product(range(max(y - 1, 0), y + 2), range(max(x - 1, 0), x + 2))
            if any(not valid[b, 0, i, j] for i, j in near if i < height and j < width):
                region.add((y, x))
        for (y, x), c in itertools.product(region, range(channels)):
            for neighbour in ((y, x + 1), (y + 1, x)):
                if neighbour in region:
                    total += abs(picture[b, c, y, x] - picture[b, c, *neighbour])
    return total / picture.size


def test_l_tv_by_hand():
    """One hole pixel in the middle of 5 x 5: P is 3 x 3 with 12 pairs inside, of which the middle is in 4."""
    valid = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    valid[..., 2, 2] = False
    picture = torch.zeros(1, 1, 5, 5)
    picture[..., 2, 2] = 1.0
    assert total_variation_loss(picture, valid).item() == pytest.approx(4 / 25)
    picture[..., 2, 2], picture[..., 1, 1] = 0.0, 1.0  # a corner of P: two of its four neighbours lie in P
    assert total_variation_loss(picture, valid).item() == pytest.approx(2 / 25)
    picture[..., 1, 1], picture[..., 0, 2] = 0.0, 1.0  # outside P
    assert total_variation_loss(picture, valid).item() == 0.0


@pytest.mark.parametrize("share", [0.03, 0.5, 1.0])
def test_l_tv_against_loops(share):
    picture = torch.rand(2, 3, 9, 11, dtype=torch.float64)
    valid = torch.rand(2, 1, 9, 11) > share
    expected = numpy_tv(picture.numpy(), valid.numpy())
    assert total_variation_loss(picture, valid).item() == pytest.approx(expected)


def test_l_tv_does_not_see_what_lies_outside_its_region():
    picture, _, valid = example(size=24)
    valid = torch.ones_like(valid)
    valid[..., 10:14, 8:12] = False
    outside = torch.ones_like(valid)
    outside[..., 9:15, 7:13] = False
    expected = total_variation_loss(picture, valid)
    assert expected > 0
    for content in (7.0, math.nan, math.inf):
        filled = torch.where(outside, content, picture).requires_grad_()
        assert total_variation_loss(filled, valid) == expected
        (gradient,) = torch.autograd.grad(total_variation_loss(filled, valid), filled)
        assert gradient.isfinite().all()
        assert not gradient[outside.expand_as(gradient)].any()


def test_a_perfect_output_costs_nothing_but_total_variation(vgg):
    _, truth, valid = example()
    total, terms = InpaintingLoss(LossWeights(), vgg)(truth, truth, valid)
    assert {name for name, term in terms.items() if term} == {"tv"}
    assert total.item() == pytest.approx(0.1 * terms["tv"].item())


def test_the_total_is_the_papers_sum(vgg):
    """Against the formula written down once more, features and all, with every term in it."""
    output, truth, valid = example()
    total, terms = InpaintingLoss(LossWeights(), vgg)(output, truth, valid)
    comp = valid * truth + ~valid * output
    out_f, comp_f, truth_f = vgg(output), vgg(comp), vgg(truth)

    def style(features):
        return sum(
            np.abs(numpy_gram(a) - numpy_gram(b)).mean() / 2
            for layer, truth_layer in zip(features, truth_f, strict=True)
            for a, b in zip(layer.numpy(), truth_layer.numpy(), strict=True)
        )

    expected = {
        "valid": (valid * (output - truth)).abs().sum().item() / truth.numel(),
        "hole": (~valid * (output - truth)).abs().sum().item() / truth.numel(),
        "perceptual": sum(
            (a - b).abs().mean().item() for f in (out_f, comp_f) for a, b in zip(f, truth_f, strict=True)
        ),
        "style_out": style(out_f),
        "style_comp": style(comp_f),
        "tv": numpy_tv(comp.numpy(), valid.numpy()),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)
    weights = {"valid": 1, "hole": 6, "perceptual": 0.05, "style_out": 120, "style_comp": 120, "tv": 0.1}
    assert total.item() == pytest.approx(sum(weights[name] * value for name, value in expected.items()))


def test_a_batch_costs_the_mean_of_its_pictures(vgg):
    output, truth, valid = example(batch=3)
    loss = InpaintingLoss(LossWeights(), vgg)
    each = [loss(output[i : i + 1], truth[i : i + 1], valid[i : i + 1])[0] for i in range(3)]
    torch.testing.assert_close(loss(output, truth, valid)[0], torch.stack(each).mean())


def test_the_gradient_is_that_of_the_loss(vgg):
    """Through composite, features and Gram matrices, against finite differences."""
    output, truth, valid = example(batch=1, size=8)
    loss = InpaintingLoss(LossWeights(), vgg)
    output.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(output, truth, valid)[0], output)
    with torch.no_grad():
        for place in [(0, 0, 1, 2), (0, 1, 5, 5), (0, 2, 7, 0), (0, 2, 3, 6)]:
            step = torch.zeros_like(output)
            step[place] = 1e-6
            ends = [loss(output + sign * step, truth, valid)[0] for sign in (1, -1)]
            assert gradient[place].item() == pytest.approx(((ends[0] - ends[1]) / 2e-6).item(), rel=1e-4)


class Counting(VGG16Features):
    """Notes how many pictures it is shown, and whether gradients are wanted."""

    def __init__(self):
        super().__init__(1)
        self.seen = []

    def forward(self, pictures, pools=None):
        self.seen.append((len(pictures), torch.is_grad_enabled()))
        return super().forward(pictures, pools)


def test_the_truths_features_are_computed_once_and_without_gradient():
    vgg = Counting()
    output, truth, valid = example(dtype=torch.float32)
    InpaintingLoss(LossWeights(), vgg)(output.requires_grad_(), truth, valid)[0].backward()
    assert vgg.seen == [(2, False), (2, True), (2, True)]  # truth, output, composite
    assert output.grad is not None


def test_no_more_than_the_papers_three_pools_are_used():
    vgg = VGG16Features(4)
    vgg.features[17].register_forward_pre_hook(lambda *_: pytest.fail("block 4 was computed"))
    assert InpaintingLoss(LossWeights(), vgg)(*example(1, 16, torch.float32))[0] > 0


def test_half_precision_is_averaged_in_fp32():
    output, truth, valid = example(dtype=torch.float32)
    features = [torch.rand(2, 8, 40, 40).bfloat16() for _ in range(2)]
    expected = (features[0] - features[1]).abs().float().mean()
    torch.testing.assert_close(perceptual_loss(features[:1], features[1:]), expected)
    loss = InpaintingLoss(LossWeights(), VGG16Features(1))
    with torch.autocast("cpu", torch.bfloat16):
        total, terms = loss(output.bfloat16().requires_grad_(), truth, valid)
    assert {term.dtype for term in (total, *terms.values())} == {torch.float32}
    _, exact = loss(output.bfloat16().float(), truth, valid)
    assert all(torch.equal(terms[name], exact[name]) for name in ("valid", "hole", "tv"))
    torch.testing.assert_close(terms["perceptual"], exact["perceptual"], rtol=0.02, atol=0)


@pytest.mark.parametrize("name", ["valid", "hole", "perceptual", "style", "tv"])
def test_a_term_of_weight_0_is_not_computed(name, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError(f"{name} was computed")

    functions = {"perceptual": "perceptual_loss", "style": "gram", "tv": "total_variation_loss"}
    if name in functions:
        monkeypatch.setattr(f"pconv.training.losses.{functions[name]}", never)
    _, terms = InpaintingLoss(LossWeights(**{name: 0.0}), VGG16Features(1).double())(*example())
    assert not any(term.startswith(name) for term in terms)
    assert len(terms) == (4 if name == "style" else 5)


def test_without_feature_terms_vgg_is_not_run():
    output, truth, valid = example()
    loss = InpaintingLoss(LossWeights(perceptual=0, style=0), nn.Module())
    total, terms = loss(output, truth, valid)
    assert set(terms) == {"valid", "hole", "tv"}
    assert total.item() == pytest.approx((terms["valid"] + 6 * terms["hole"] + 0.1 * terms["tv"]).item())
    assert not list(loss.children())
    with pytest.raises(ValueError, match="need VGG-16's features"):
        InpaintingLoss(LossWeights())


@pytest.mark.parametrize("weights", [{"hole": -1.0}, {"tv": math.nan}, {"style": math.inf}])
def test_weights_must_be_sensible(weights):
    with pytest.raises(ValueError, match="weights that are 0 or more"):
        LossWeights(**weights)
    with pytest.raises(ValueError, match="one above 0"):
        LossWeights(0, 0, 0, 0, 0)


def test_a_configuration_may_hold_no_unknown_weight():
    adapter = pydantic.TypeAdapter(LossWeights)
    assert adapter.validate_python({"hole": 2}) == LossWeights(hole=2)
    with pytest.raises(pydantic.ValidationError, match="styel"):
        adapter.validate_python({"styel": 1})


def test_the_default_weights_are_the_papers():
    assert LossWeights() == LossWeights(valid=1, hole=6, perceptual=0.05, style=120, tv=0.1)


def test_balance_weighs_each_picture_by_its_hole():
    output, truth, _ = example(batch=2, size=10)
    valid = torch.ones(2, 1, 10, 10, dtype=torch.bool)
    valid[0, 0, :1] = False  # a tenth
    valid[1, 0, :6] = False  # six tenths
    errors = (output - truth).abs()
    weights = LossWeights(valid=0, hole=1, perceptual=0, style=0, tv=0)
    for balance in (0.0, 0.7, 1.0):
        _, terms = InpaintingLoss(weights, balance=balance)(output, truth, valid)
        first, second = errors[0, :, :1].sum() / 300, errors[1, :, :6].sum() / 300
        expected = (first * (0.3 / 0.1) ** balance + second * (0.3 / 0.6) ** balance) / 2
        torch.testing.assert_close(terms["hole"], expected)
    # Balanced wholly, each picture's part is 0.3 times the mean over its own hole.
    torch.testing.assert_close(terms["hole"], 0.3 * (errors[0, :, :1].mean() + errors[1, :, :6].mean()) / 2)


def test_a_picture_without_a_hole_can_be_balanced():
    output, truth, valid = example()
    total, _ = InpaintingLoss(LossWeights(perceptual=0, style=0), balance=1)(output, truth, torch.ones_like(valid))
    assert total.isfinite()


def test_feature_terms_of_the_composite_alone(vgg):
    output, truth, valid = example()
    weights = LossWeights(valid=0, hole=0, tv=0)
    _, both = InpaintingLoss(weights, vgg)(output, truth, valid)
    _, alone = InpaintingLoss(weights, vgg, composite_only=True)(output, truth, valid)
    assert set(both) == {"perceptual", "style_out", "style_comp"}
    assert set(alone) == {"perceptual", "style_comp"}
    assert alone["style_comp"] == both["style_comp"]
    filled = torch.where(valid, truth, output)
    assert alone["perceptual"] == perceptual_loss(vgg(filled, 3), vgg(truth, 3))
    assert alone["perceptual"] < both["perceptual"]
