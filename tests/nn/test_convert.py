import math
import warnings
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

from pconv import PartialConv2d, PartialPadConv1d, PartialPadConv2d, PartialPadConv3d, convert_padding


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


@st.composite
def convolutions(draw, n):
    """An ``nn.ConvNd`` in fp64 that pads, and an input of at least one output position."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = [draw(st.integers(1, 4)) for _ in range(n)]
    dilation = [draw(st.integers(1, 3)) for _ in range(n)]
    same = draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 2**31)))
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[n](
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        tuple(kernel),
        stride=1 if same else tuple(draw(st.integers(1, 3)) for _ in range(n)),
        padding="same" if same else tuple(draw(st.integers(0, 3)) for _ in range(n)),
        dilation=tuple(dilation),
        groups=groups,
        bias=draw(st.booleans()),
        dtype=torch.float64,
    )
    size = [d * (k - 1) + draw(st.integers(1, 3)) for k, d in zip(kernel, dilation, strict=True)]
    return conv, torch.randn(2, conv.in_channels, *size, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 3])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_converted_convolutions_scale_by_window_over_known(n, data):
    conv, features = data.draw(convolutions(n))
    bias = torch.zeros(conv.out_channels, dtype=torch.float64) if conv.bias is None else conv.bias
    bias = bias.detach().view(-1, *[1] * n)
    counting = type(conv)(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups,
        bias=False, dtype=torch.float64,
    )  # fmt: skip
    nn.init.ones_(counting.weight)
    with torch.no_grad():
        raw, counts = conv(features) - bias, counting(torch.ones_like(features))
        expected = torch.where(counts > 0, raw * conv.weight[0].numel() / counts.clamp(min=1) + bias, 0)
        got = convert_padding(conv)(features)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_converted_convolutions_equal_a_plain_loop(data):
    conv, features = data.draw(convolutions(2))
    before = [conv._reversed_padding_repeated_twice[2], conv._reversed_padding_repeated_twice[0]]
    weight, bias = conv.weight.detach(), conv.bias
    height, width = features.shape[2:]
    share = conv.in_channels // conv.groups
    got = convert_padding(conv)(features).detach()
    for channel, row, column in product(*map(range, got.shape[1:])):
        first = channel // (conv.out_channels // conv.groups) * share
        total, known = torch.zeros(2, dtype=torch.float64), 0
        for y, x in product(range(conv.kernel_size[0]), range(conv.kernel_size[1])):
            at_y = row * conv.stride[0] - before[0] + y * conv.dilation[0]
            at_x = column * conv.stride[1] - before[1] + x * conv.dilation[1]
            if 0 <= at_y < height and 0 <= at_x < width:
                known += share
                total = total + features[:, first : first + share, at_y, at_x] @ weight[channel, :, y, x]
        wanted = torch.zeros(2, dtype=torch.float64)
        if known:
            wanted = total * math.prod(weight.shape[1:]) / known + (0 if bias is None else bias[channel].detach())
        torch.testing.assert_close(got[:, channel, row, column], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), r"padding mode 'reflect': 0 \(Conv2d\)"),
        (PartialConv2d(1, 1, 3, padding=1, padding_mode="circular"), r"padding mode 'circular': 0 \(PartialConv2d\)"),
        (nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1), r"transposed convolutions: 0 \(ConvTranspose2d\)"),
        (parametrizations.weight_norm(nn.Conv2d(1, 1, 3, padding=1)), r"forward of their own: 0 \(Parametrized"),
        (nn.AvgPool2d(3, padding=1), r"average pooling that counts the padding: 0 \(AvgPool2d\)"),
        (nn.AvgPool1d(3, padding=1), r"average pooling that counts the padding: 0 \(AvgPool1d\)"),
        (nn.Unfold(3, padding=1), r"nn\.Unfold, which pads with zeros: 0 \(Unfold\)"),
        (nn.Unfold(3, padding=(0, 1)), r"nn\.Unfold, which pads with zeros: 0 \(Unfold\)"),
        (nn.LazyConv2d(1, 3, padding=1), r"lazy convolutions, which can be .* first call: 0 \(LazyConv2d\)"),
        (nn.ZeroPad2d(1), r"padding as a module of its own: 0 \(ZeroPad2d\)"),
        (nn.ReflectionPad1d(2), r"padding as a module of its own: 0 \(ReflectionPad1d\)"),
    ],
)
def test_what_pads_and_stays_is_named_with_its_reason(module, reason):
    kind = type(module)
    model = nn.Sequential(module, nn.Conv2d(1, 1, 3, padding=1))
    with pytest.warns(UserWarning, match=reason):
        convert_padding(model)
    assert type(model[0]) is kind
    assert type(model[1]) is PartialPadConv2d


def test_what_does_not_pad_or_pads_partially_is_not_named():
    model = nn.Sequential(
        nn.Conv2d(1, 1, 3),
        nn.Conv2d(1, 1, 1, padding="same"),
        nn.Conv2d(1, 1, 3, padding_mode="reflect"),
        nn.ConvTranspose2d(1, 1, 2, stride=2),
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, padding=1, count_include_pad=False),
        nn.MaxPool2d(3, padding=1),
        nn.ZeroPad2d(0),
        nn.Unfold(3),
        nn.LazyConv2d(1, 3),
        PartialConv2d(1, 1, 3, padding=1),
    )
    kinds = [type(module) for module in model]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert_padding(model)
    assert [type(module) for module in model] == kinds


def test_one_warning_names_all():
    model = nn.ModuleDict({"up": nn.ConvTranspose1d(1, 1, 4, padding=1), "pool": nn.AvgPool1d(3, padding=1)})
    with pytest.warns(UserWarning, match="unchanged") as caught:
        convert_padding(model)
    assert [str(each.message) for each in caught] == [
        "convert_padding left these modules unchanged: transposed convolutions: up (ConvTranspose1d); "
        "average pooling that counts the padding: pool (AvgPool1d)"
    ]


def test_a_lazy_convolution_is_converted_after_its_first_call():
    model = nn.Sequential(nn.LazyConv2d(1, 3, padding=1))
    model(torch.zeros(1, 2, 4, 4))
    assert type(convert_padding(model)[0]) is PartialPadConv2d


def test_converting_twice_changes_nothing():
    model = convert_padding(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1)))
    assert type(convert_padding(model)[0]) is PartialPadConv2d
