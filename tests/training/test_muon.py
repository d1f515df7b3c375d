import copy

import numpy as np
import pytest
import torch

from pconv.training.muon import UPDATE_SCALE, Muon, orthogonalized


@pytest.mark.parametrize("shape", [(2, 16, 40), (3, 40, 16), (1, 8, 8)])
def test_singular_values_become_about_one_and_the_vectors_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalized(matrices)
    assert result.shape == matrices.shape
    assert result.dtype == torch.float32
    values = torch.linalg.svdvals(result)
    assert 0.6 < values.min() <= values.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    nearest = u @ v
    cosine = (result * nearest).sum((1, 2)) / (result.norm(dim=(1, 2)) * nearest.norm(dim=(1, 2)))
    assert cosine.min() > 0.95


def test_one_step_by_hand():
    weight = torch.nn.Parameter(torch.ones(4, 2, 3, 3))
    gradient = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    weight.grad = gradient.clone()
    Muon([weight], lr=0.1, weight_decay=0.5, momentum=0.9).step()
    direction = (0.1 * gradient + 0.9 * (0.1 * gradient)).flatten(1)
    expected = 1 - 0.1 * 0.5 - 0.1 * UPDATE_SCALE * 18**0.5 * orthogonalized(direction[None])[0].view(4, 2, 3, 3)
    assert torch.allclose(weight.detach(), expected, atol=1e-6)


def test_it_fits_a_convolution_and_resumes_from_its_state():
    generator = torch.Generator().manual_seed(0)
    image, wanted = torch.randn(8, 3, 12, 12, generator=generator), torch.nn.Conv2d(3, 8, 3, bias=False)

    def train(conv, optimiser, steps):
        losses = []
        for _ in range(steps):
            optimiser.zero_grad()
            loss = (conv(image) - wanted(image).detach()).square().mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses

    conv = torch.nn.Conv2d(3, 8, 3, bias=False)
    optimiser = Muon(conv.parameters(), lr=0.03)
    losses = train(conv, optimiser, 60)
    assert losses[-1] < 0.2 * losses[0]
    other = torch.nn.Conv2d(3, 8, 3, bias=False)
    other.load_state_dict(conv.state_dict())
    resumed = Muon(other.parameters(), lr=0.03)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    assert np.array_equal(train(conv, optimiser, 3), train(other, resumed, 3))


def test_weights_without_a_gradient_stay_and_vectors_are_refused():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.ones(2, 2))
    with pytest.raises(ValueError, match="two or more dimensions"):
        Muon([torch.nn.Parameter(torch.ones(3))], lr=0.1)
