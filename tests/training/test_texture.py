import copy

import numpy as np
import pytest
import torch

from pconv.training.discriminators import FeatureDiscriminators, PatchDiscriminator, hinge_loss, score_at_hole
from pconv.training.features import VGG16Features
from pconv.training.texture import (
    LEAST_GRADIENT,
    TextureLoss,
    TextureWeights,
    draw_windows,
    gradient_distance,
    sliced_wasserstein_distance,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def square_hole(batch=2, size=32):
    hole = torch.zeros(batch, 1, size, size)
    hole[:, :, size // 4 : size // 2, size // 4 : 3 * size // 4] = 1
    return hole


def test_the_wasserstein_distance_sees_distributions_and_not_places():
    hole = torch.ones(2, 1, 24, 24)
    truth = torch.rand(2, 8, 24, 24)
    moved = truth.flatten(2)[:, :, torch.randperm(24 * 24)].view_as(truth)
    flat = truth.mean((2, 3), keepdim=True).expand_as(truth)
    noisy = truth + torch.randn_like(truth)
    near, fog, noise = (sliced_wasserstein_distance([f], [truth], hole).item() for f in (moved, flat, noisy))
    assert near < 0.3 * fog
    assert near < 0.3 * noise


def test_the_wasserstein_distance_of_a_shift_by_hand():
    """Constant features a and b along any direction d: |d . (a - b)| / |d . b|; with b = 2 a that is 1/2."""
    hole, truth = square_hole(), torch.full((2, 4, 16, 16), 0.8)
    assert sliced_wasserstein_distance([truth / 2], [truth], hole).item() == pytest.approx(0.5, rel=1e-4)
    assert sliced_wasserstein_distance([truth / 2, truth], [truth, truth], hole).item() == pytest.approx(0.5, rel=1e-4)


def test_the_wasserstein_distance_looks_into_the_hole_alone():
    hole, truth = square_hole(1, 16), torch.rand(1, 4, 16, 16)
    other = torch.where(hole > 0, truth, torch.full_like(truth, 50.0))
    assert sliced_wasserstein_distance([other], [truth], hole).item() < 1


def test_the_gradient_distance_by_hand():
    """Stripes of 0 and 0.4 against stripes of 0 and 0.1: differences +-0.4 and +-0.1 across, and none down."""
    stripes = (torch.arange(33) % 2).float().expand(1, 3, 33, 33)
    hole = torch.ones(1, 1, 33, 33)
    strong = gradient_distance(0.4 * stripes, 0.1 * stripes, hole, points=4000).item()
    # Y only, a third of the channels: (0.4 - 0.1) / 0.1 = 3; Cb, Cr and the other direction are 0. Half counts.
    assert strong == pytest.approx(3 / 3 / 2, rel=0.05)
    assert gradient_distance(0.1 * stripes, 0.1 * stripes, hole, points=4000).item() < 0.02


def test_the_gradient_distance_takes_flat_truths_as_one_level_of_255():
    hole, flat = torch.ones(1, 1, 9, 9), torch.full((1, 3, 9, 9), 0.5)
    stripes = flat + LEAST_GRADIENT * (torch.arange(9) % 2).float()
    assert gradient_distance(stripes, flat, hole).item() == pytest.approx(1 / 3 / 2, rel=0.01)


def test_windows_lie_in_the_image_and_touch_the_hole():
    hole = torch.zeros(40, 1, 32, 48)
    row, column = torch.randint(0, 32, (40,)), torch.randint(0, 48, (40,))
    hole[torch.arange(40), 0, row, column] = 1
    cut = draw_windows(hole)
    assert cut(hole).shape == (40, 1, 16, 24)
    assert cut(hole).sum((1, 2, 3)).eq(1).all()
    places = torch.arange(32 * 48).view(1, 1, 32, 48).expand(40, -1, -1, -1)
    corners = cut(places)[:, 0, 0, 0]
    assert len(corners.unique()) > 10
    found = cut(places)[cut(hole) > 0]  # the windows of any map are those of the hole
    assert torch.equal(found, row * 48 + column)


def test_windows_are_drawn_as_multinomial_draws_them():
    """The same pixels for the same seed, without its wait for the GPU."""
    hole = (torch.rand(3, 1, 16, 24) > 0.7).float()
    torch.manual_seed(3)
    middle = torch.multinomial(hole.flatten(1) + 1e-7, 1)[:, 0]
    shifts = torch.randint(-2, 3, (3,)), torch.randint(-3, 4, (3,))
    tops = (middle // 24 - 4 + shifts[0]).clamp(0, 8)
    lefts = (middle % 24 - 6 + shifts[1]).clamp(0, 12)
    torch.manual_seed(3)
    image = torch.rand(3, 2, 16, 24)
    torch.manual_seed(3)
    found = draw_windows(hole)(image)
    for window, each, top, left in zip(found, image, tops, lefts, strict=True):
        assert torch.equal(window, each[:, top : top + 8, left : left + 12])


def test_scores_count_where_their_patch_touches_the_hole():
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., :8, :8] = 1
    scores = torch.full((1, 1, 4, 4), 7.0)
    scores[..., 2:, 2:] = 1000
    assert score_at_hole(scores, hole, 9).item() == 7
    assert hinge_loss(torch.full((1, 1, 4, 4), 2.0), torch.full((1, 1, 4, 4), -3.0), hole, 9).item() == 0
    assert hinge_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), hole, 9).item() == 2


def test_the_discriminators_see_image_features_and_mask():
    image, hole = torch.rand(2, 3, 64, 64), square_hole(2, 64)
    patches = PatchDiscriminator()
    scores, features = patches(image, hole)
    assert scores.shape == (2, 1, 8, 8)
    assert len(features) == 4
    assert not torch.equal(scores, patches(image, 1 - hole)[0])
    maps = FeatureDiscriminators()([torch.rand(2, 64, 32, 32), torch.rand(2, 128, 16, 16)], hole)
    assert [tuple(m.shape) for m in maps] == [(2, 1, 16, 16), (2, 1, 16, 16)]


def batch(size=64):
    truth, valid = torch.rand(2, 3, size, size), square_hole(2, size) == 0
    return truth, valid, (~valid).float() * 3


def test_a_call_trains_the_discriminators_and_leaves_gradients_for_the_hole_alone():
    loss = TextureLoss(TextureWeights(), VGG16Features(2))
    loss.set_lr(1e-3)
    before = copy.deepcopy(loss.patches.state_dict())
    truth, valid, distance = batch()
    output = torch.rand(2, 3, 64, 64, requires_grad=True)
    total, terms = loss(output, truth, valid, distance)
    total.backward()
    assert output.grad[valid.expand_as(output)].eq(0).all()
    assert output.grad[~valid.expand_as(output)].ne(0).float().mean() > 0.5
    assert any(not torch.equal(value, before[name]) for name, value in loss.patches.state_dict().items())
    assert all(p.requires_grad for p in loss.patches.parameters())
    assert set(terms) == {
        "patch_discriminator", "feature_discriminators", "adversarial", "feature_adversarial", "feature_matching",
        "texture_perceptual", "sliced_wasserstein", "gradients",
    }  # fmt: skip
    assert all(not term.requires_grad for term in terms.values())


def test_the_total_is_the_weighted_sum():
    truth, valid, distance = batch()
    output = torch.rand(2, 3, 64, 64)
    weights = TextureWeights(1.0, 8.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    total, t = TextureLoss(weights, VGG16Features(2))(output, truth, valid, distance)
    expected = (
        t["texture_perceptual"] + 2 * t["sliced_wasserstein"] + 3 * t["gradients"] + 4 * t["adversarial"]
        + 5 * t["feature_matching"] + 6 * t["feature_adversarial"]
    )  # fmt: skip
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    total, t = TextureLoss(weights, VGG16Features(2))(output, truth, valid, distance, readiness=0.0)
    expected = t["texture_perceptual"] + 2 * t["sliced_wasserstein"] + 3 * t["gradients"]
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


NONE = {name: 0.0 for name in vars(TextureWeights()) if name != "perceptual_reach"}
NEEDS = {
    "perceptual": ({"texture_perceptual"}, False, False, True),
    "sliced_wasserstein": ({"sliced_wasserstein"}, False, False, True),
    "gradients": ({"gradients"}, False, False, False),
    "adversarial": ({"patch_discriminator", "adversarial"}, True, False, False),
    "feature_matching": ({"patch_discriminator", "feature_matching"}, True, False, False),
    "feature_adversarial": ({"feature_discriminators", "feature_adversarial"}, False, True, True),
}


@pytest.mark.parametrize("name", NEEDS)
def test_one_term_alone_computes_nothing_for_the_others(name):
    expected, patches, on_features, vgg_needed = NEEDS[name]
    weights = TextureWeights(**{**NONE, name: 2.0})
    assert weights.needs_features == vgg_needed
    vgg = VGG16Features(2)
    alone = TextureLoss(weights, vgg if vgg_needed else None)
    assert (alone.patches is not None, alone.on_features is not None) == (patches, on_features)
    alone.set_lr(1e-3)
    truth, valid, distance = batch()
    output = torch.rand(2, 3, 64, 64, requires_grad=True)
    total, terms = alone(output, truth, valid, distance)
    assert set(terms) == expected
    assert total.item() == pytest.approx(2 * terms[next(t for t in terms if "discriminator" not in t)].item())
    total.backward()
    assert output.grad.abs().sum() > 0
    alone.restore(copy.deepcopy(alone.saved_state()))


def test_without_any_weight_nothing_is_computed():
    total, terms = TextureLoss(TextureWeights(**NONE), None)(torch.rand(2, 3, 64, 64), *batch())
    assert (total.item(), terms) == (0, {})


def test_a_perfect_output_leaves_nothing_but_the_judges_opinion():
    truth, valid, distance = batch()
    _, terms = TextureLoss(TextureWeights(), VGG16Features(2))(truth.clone(), truth, valid, distance)
    assert terms["texture_perceptual"].item() == pytest.approx(0, abs=1e-6)
    assert terms["feature_matching"].item() < 1e-3  # the discriminators' spectral norms are estimated anew each time
    assert terms["patch_discriminator"].item() >= 1.99  # equal scores lose 2 at least


def test_the_discriminators_learn_to_tell_grey_from_a_photo():
    loss = TextureLoss(TextureWeights(), VGG16Features(2))
    loss.set_lr(2e-3)
    truth, valid, distance = batch()
    losses = [loss(torch.full_like(truth, 0.5), truth, valid, distance)[1]["patch_discriminator"] for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])


def test_saved_discriminators_go_on_as_they_were():
    truth, valid, distance = batch()
    output = torch.rand(2, 3, 64, 64)
    vgg = VGG16Features(2)
    first, other = (TextureLoss(TextureWeights(), vgg) for _ in range(2))
    for loss in (first, other):
        loss.set_lr(1e-3)
    first(output, truth, valid, distance)
    other.restore(copy.deepcopy(first.saved_state()))
    results = []
    for loss in (first, other):
        torch.manual_seed(5)
        results.append(loss(output, truth, valid, distance)[0].item())
    assert results[0] == results[1]
    with pytest.raises(KeyError):
        other.restore({})


@pytest.mark.parametrize("distance", [sliced_wasserstein_distance, gradient_distance])
def test_distances_are_computed_in_float32_under_autocast(distance):
    """Values of 0.7 and more have steps of one level of 255 in bf16."""
    fill, truth, hole = 0.7 + 0.01 * torch.rand(1, 3, 32, 32), 0.7 + 0.01 * torch.rand(1, 3, 32, 32), square_hole(1)
    results = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            images = (fill, truth) if distance is gradient_distance else ([fill], [truth])
            results.append(distance(*images, hole).item())
    assert results[0] == results[1]


def test_gradients_that_are_not_finite_leave_the_discriminators_as_they_were():
    loss = TextureLoss(TextureWeights(), VGG16Features(2))
    loss.set_lr(1e-3)
    truth, valid, distance = batch()
    weights = [p.clone() for p in loss.patches.parameters()]
    output = torch.full_like(truth, float("nan"))
    loss(output, truth, valid, distance)
    assert all(torch.equal(a, b) for a, b in zip(weights, loss.patches.parameters(), strict=True))


def test_gradients_are_averaged_over_the_processes():
    """Two processes with one image each, whose mean is handed over, against one process with both gradients."""
    truth, valid, distance = batch()
    output = torch.rand_like(truth)
    doubled = TextureLoss(TextureWeights(), VGG16Features(2), average=lambda gradient: 0 * gradient)
    doubled.set_lr(1e-3)
    before = [p.clone() for p in doubled.patches.parameters()]
    doubled(output, truth, valid, distance)
    for a, b in zip(before, doubled.patches.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)  # a mean of 0 moves nothing but the weight decay


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="need 2 blocks of VGG-16, got 1"):
        TextureLoss(TextureWeights(), VGG16Features(1))
    with pytest.raises(ValueError, match="need 2 blocks of VGG-16, got 0"):
        TextureLoss(TextureWeights(), None)
    with pytest.raises(ValueError, match="must be 0 or more"):
        TextureWeights(adversarial=-1)
    with pytest.raises(ValueError, match="perceptual_reach above 0"):
        TextureWeights(perceptual_reach=0)
