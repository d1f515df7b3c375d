import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from pconv import PartialPadConv1d, PartialPadConv2d, PartialPadConv3d, convert_padding


def test_zero_padded_convolutions_are_converted_and_keep_weights():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"), nn.Sequential(shared, nn.ReLU(), shared), nn.Conv2d(4, 2, 1)
    )
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    calls = []
    shared.register_forward_hook(lambda *_: calls.append(1))
    picture = torch.randn(1, 3, 12, 12)
    before = model(picture)
    assert convert_padding(model) is model
    assert type(model[0]) is PartialPadConv2d
    assert type(model[1][0]) is PartialPadConv2d
    assert model[1][0] is model[1][2]
    assert type(model[2]) is nn.Conv2d  # no padding: nothing to convert
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    after = model(picture)
    assert len(calls) == 4
    torch.testing.assert_close(after[..., 3:-3, 3:-3], before[..., 3:-3, 3:-3])
    assert not torch.allclose(after[..., 0, :], before[..., 0, :])


def test_one_and_three_axes_and_the_model_itself():
    assert type(convert_padding(nn.Conv1d(2, 2, 3, padding=1))) is PartialPadConv1d
    assert type(convert_padding(nn.Conv3d(2, 2, 3, padding=(0, 1, 0)))) is PartialPadConv3d


def test_other_padding_modes_stay():
    assert type(convert_padding(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))) is nn.Conv2d


def test_converting_twice_changes_nothing():
    model = convert_padding(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)))
    assert type(convert_padding(model)[0]) is PartialPadConv2d


def test_subclasses_are_named_in_a_warning():
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(1, 1, 3, padding=1)))
    with pytest.warns(UserWarning, match=r"left unchanged.*0 \(ParametrizedConv2d\)"):
        convert_padding(model)
