import torch

from pconv.training.losses import hole_loss, valid_loss


def test_l_valid_and_l_hole_by_hand():
    truth = torch.zeros(1, 2, 2, 2)
    output = torch.tensor([[[[1.0, -2.0], [3.0, 4.0]], [[10.0, 20.0], [-30.0, 40.0]]]])
    valid = torch.tensor([[[[True, False], [False, True]]]])
    # Averaged over all 8 elements, not over the hole's.
    assert valid_loss(output, truth, valid).item() == (1 + 4 + 10 + 40) / 8
    assert hole_loss(output, truth, valid).item() == (2 + 3 + 20 + 30) / 8
    whole = (output - truth).abs().mean()
    assert valid_loss(output, truth, valid) + hole_loss(output, truth, valid) == whole


def test_perfect_output_costs_nothing():
    truth, valid = torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8) < 0.5
    assert valid_loss(truth, truth, valid) == 0
    assert hole_loss(truth, truth, valid) == 0
