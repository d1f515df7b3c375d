"""The layer against its definition, written here with the ones-convolution over all channels."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pconv
from pconv import PartialConv1d, PartialConv2d, PartialConv3d, PartialPadConv2d, partial_conv2d
from pconv.nn.layers import renormalize

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
PARTIAL = {1: pconv.partial_conv1d, 2: pconv.partial_conv2d, 3: pconv.partial_conv3d}
MODULES = {1: (PartialConv1d, nn.Conv1d), 2: (PartialConv2d, nn.Conv2d), 3: (PartialConv3d, nn.Conv3d)}


def by_definition(features, valid, weight, bias, stride, padding, dilation, groups):
    """Equations (1) and (2) in fp64: sum(M) is a convolution of the C-channel mask with ones."""
    conv = CONV[weight.dim() - 2]
    features, valid, weight = features.double(), valid.double().expand_as(features), weight.double()
    known = torch.where(valid > 0, features, torch.zeros_like(features))
    raw = conv(known, weight, None, stride, padding, dilation, groups)
    counts = conv(valid, torch.ones_like(weight), None, stride, padding, dilation, groups)
    scaled = raw * math.prod(weight.shape[1:]) / counts.clamp(min=1)
    if bias is not None:
        scaled = scaled + bias.double().view(-1, *[1] * (weight.dim() - 2))
    return torch.where(counts > 0, scaled, torch.zeros_like(scaled)), counts > 0


@st.composite
def layers(draw, n):
    """Features, per-channel validity, weight, bias and the convolution's arguments."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    c_in, c_out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 4)) for _ in range(n)]
    dilation = [draw(st.integers(1, 2)) for _ in range(n)]
    size = [d * (k - 1) + draw(st.integers(1, 5)) for k, d in zip(kernel, dilation, strict=True)]
    same = draw(st.booleans())
    stride = [1] * n if same else [draw(st.integers(1, 3)) for _ in range(n)]
    padding = "same" if same else [draw(st.integers(0, 3)) for _ in range(n)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    known = draw(st.sampled_from([0.05, 0.3, 0.7, 1.0]))
    features = torch.randn(2, c_in, *size, generator=generator, dtype=torch.float64)
    valid = torch.rand(2, c_in, *size, generator=generator) < known
    weight = torch.randn(c_out, c_in // groups, *kernel, generator=generator, dtype=torch.float64)
    bias = torch.randn(c_out, generator=generator, dtype=torch.float64) if draw(st.booleans()) else None
    return features, valid, weight, bias, stride, padding, dilation, groups


@pytest.mark.parametrize("n", [1, 2, 3])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_the_definition(n, data):
    features, valid, weight, bias, *arguments = data.draw(layers(n))
    expected, expected_valid = by_definition(features, valid, weight, bias, *arguments)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        got, got_valid = PARTIAL[n](
            features.to(dtype), valid, weight.to(dtype), bias if bias is None else bias.to(dtype), *arguments
        )
        assert got.dtype == dtype
        assert torch.equal(got_valid.expand_as(expected_valid), expected_valid)
        scale = max(1.0, expected.abs().max().item())
        assert (got - expected).abs().max() <= tolerance * scale


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_all_forms_of_validity_agree(data):
    features, _, weight, bias, *arguments = data.draw(layers(2))
    channels = features.shape[1]
    split = data.draw(st.integers(0, channels - 1))
    maps = torch.rand(2, 2, *features.shape[2:]) < 0.6
    every = torch.cat([maps[:, :1].expand(-1, split, -1, -1), maps[:, 1:].expand(-1, channels - split, -1, -1)], 1)
    pairs = [(maps[:, 1:], channels - split)]
    if split:
        pairs.insert(0, (maps[:, :1], split))
    by_channel = partial_conv2d(features, every, weight, bias, *arguments)
    by_group = partial_conv2d(features, pairs, weight, bias, *arguments)
    as_numbers = partial_conv2d(features, every.to(torch.float16), weight, bias, *arguments)
    for other in (by_group, as_numbers):
        torch.testing.assert_close(by_channel[0], other[0], rtol=1e-12, atol=1e-10)
        assert torch.equal(by_channel[1].expand_as(by_channel[0]), other[1].expand_as(by_channel[0]))


def test_groups_of_many_channels_stay_per_channel():
    features = torch.randn(1, 5, 6, 6)
    first, second = torch.rand(1, 2, 6, 6) < 0.5, torch.rand(1, 1, 6, 6) < 0.5
    every = torch.cat([first, second.expand(-1, 3, -1, -1)], 1)
    weight = torch.randn(4, 5, 3, 3)
    by_group = partial_conv2d(features, [(first, 2), (second, 3)], weight, padding=1)
    torch.testing.assert_close(by_group[0], partial_conv2d(features, every, weight, padding=1)[0])


def test_values_by_hand():
    features = torch.tensor([[[1.0, 2.0, 4.0]]])
    valid = torch.tensor([[[1.0, 0.0, 1.0]]])
    weight, bias = torch.tensor([[[1.0, 10.0, 100.0]]]), torch.tensor([0.5])
    out, out_valid = pconv.partial_conv1d(features, valid, weight, bias, padding=1)
    # [_ 1 ?]: 10*1 * 3/1; [1 ? 4]: (1*1 + 100*4) * 3/2; [? 4 _]: 10*4 * 3/1; each + 0.5
    assert out.tolist() == [[[30.5, 602.0, 120.5]]]
    assert out_valid.tolist() == [[[True, True, True]]]


def test_all_valid_equals_plain_convolution_in_the_interior():
    features, weight, bias = torch.randn(2, 4, 12, 11), torch.randn(6, 4, 5, 3), torch.randn(6)
    plain = F.conv2d(features, weight, bias, padding=(2, 1))
    ones = torch.ones(2, 1, 12, 11)
    out, valid = partial_conv2d(features, ones, weight, bias, padding=(2, 1))
    torch.testing.assert_close(out[..., 2:-2, 1:-1], plain[..., 2:-2, 1:-1], rtol=1e-5, atol=1e-5)
    assert valid.all()
    # At the border the window is known in part: 3 of 5 rows and 2 of 3 columns in the corner.
    corner = (plain - bias.view(-1, 1, 1))[..., 0, 0] * 15 / 6 + bias
    torch.testing.assert_close(out[..., 0, 0], corner, rtol=1e-5, atol=1e-5)


def test_empty_windows_are_exactly_zero_despite_bias():
    features, valid = torch.randn(1, 8, 32, 32), torch.zeros(1, 1, 32, 32)
    valid[..., :8] = 1
    out, out_valid = PartialConv2d(8, 16, 3, padding=1)(features, valid)
    assert (out[..., 9:] == 0).all()
    assert not out_valid[..., 9:].any()
    assert out_valid[..., :9].all()
    nothing, nothing_valid = PartialConv2d(8, 16, 3, padding=1)(features, torch.zeros(1, 1, 32, 32))
    assert (nothing == 0).all()
    assert not nothing_valid.any()


@pytest.mark.parametrize("content", [0.0, 1e30, math.nan, math.inf, -math.inf])
def test_hole_content_changes_nothing_forward_or_backward(content):
    valid = torch.rand(2, 3, 9, 9) < 0.5
    conv = PartialConv2d(3, 5, 3, padding=1)

    def run(features):
        features = features.requires_grad_()
        out, _ = conv(features, valid)
        conv.zero_grad()
        out.square().sum().backward()
        return out.detach(), features.grad, conv.weight.grad.clone(), conv.bias.grad.clone()

    torch.manual_seed(1)
    features = torch.randn(2, 3, 9, 9)
    for a, b in zip(run(features.clone()), run(torch.where(valid, features, content)), strict=True):
        assert torch.equal(a, b)
        assert b.isfinite().all()


def test_the_paper_networks_mask_vanishes_for_a_centred_256_hole_in_512():
    valid = torch.ones(1, 1, 512, 512)
    valid[..., 128:384, 128:384] = 0
    holes = []
    with torch.device("meta"):
        encoder = pconv.PConvUNet(pconv.PRESETS["paper"]).encoder
    for level in encoder:
        conv = PartialConv2d(1, 1, level.conv.kernel_size, level.conv.stride, level.conv.padding)
        _, valid = conv(torch.zeros_like(valid, dtype=torch.float32), valid)
        holes.append(int((~valid).sum()))
    # Side of the hole, level by level: a window of k at stride 2 reaches k // 2 beyond its centre.
    sides, left, right = [], 128, 384
    for kernel in (7, 5, 5, 3, 3, 3, 3, 3):
        left, right = math.ceil((left + kernel // 2) / 2), (right - 1 - kernel // 2) // 2 + 1
        sides.append(max(right - left, 0))
    assert holes == [side * side for side in sides]
    assert holes[0] > 0
    assert holes[-1] == 0


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_gradcheck(n, groups):
    partial = PARTIAL[n]
    features = torch.randn(2, 2, *[4] * n, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 2 // groups, *[3] * n, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    valid = torch.rand(2, 2, *[4] * n) < 0.4

    def run(x, w, b):
        return partial(x, valid, w, b, stride=2, padding=1, groups=groups)[0]

    assert torch.autograd.gradcheck(run, (features, weight, bias))


def test_bf16_autocast_keeps_counts_exact(monkeypatch):
    # 512 channels of a 3x3 window: 4608 and its neighbours are no bf16 numbers, and 257 would round to 256.
    seen = []

    def spy(raw, counts, *rest):
        seen.append(counts)
        return renormalize(raw, counts, *rest)

    monkeypatch.setattr("pconv.nn.layers.renormalize", spy)
    features, valid = torch.randn(1, 512, 8, 8), torch.rand(1, 512, 8, 8) < 0.5
    shared = valid[:, :1]
    conv = PartialConv2d(512, 8, 3, padding=1)
    for form in (valid, shared, [(shared, 200), (~shared, 312)]):
        every = torch.cat([m.expand(-1, c, -1, -1) for m, c in form], 1) if isinstance(form, list) else form
        exact = F.conv2d(every.double().expand_as(features), torch.ones(1, 512, 3, 3).double(), padding=1)
        with torch.autocast("cpu", torch.bfloat16):
            out, _ = conv(features, form)
        assert out.dtype == torch.bfloat16
        assert torch.equal(seen.pop().double(), exact)
        expected, _ = conv(features, form)
        assert (out - expected).abs().max() <= 0.02 * expected.abs().max()


def test_the_ratio_does_not_overflow_in_fp16():
    features, valid = torch.ones(1, 2048, 7, 7, dtype=torch.float16), torch.zeros(1, 2048, 7, 7)
    valid[0, 0, 3, 3] = 1
    weight = torch.full((1, 2048, 7, 7), 2.0**-10, dtype=torch.float16)
    out, _ = partial_conv2d(features, valid, weight)
    assert out.item() == 2048 * 49 / 1024


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features(dtype):
    features, valid, weight = torch.randn(1, 4, 8, 8), torch.rand(1, 1, 8, 8) < 0.5, torch.randn(4, 4, 3, 3)
    out, _ = partial_conv2d(features.to(dtype), valid, weight.to(dtype), padding=1)
    expected, _ = partial_conv2d(features, valid, weight, padding=1)
    assert out.dtype == dtype
    assert (out - expected).abs().max() <= 0.03 * expected.abs().max()


def test_channels_last_gives_the_same_numbers_and_layout():
    conv, features, valid = (
        PartialConv2d(8, 16, 3, padding=1),
        torch.randn(2, 8, 10, 10),
        torch.rand(2, 1, 10, 10) < 0.5,
    )
    expected, expected_valid = conv(features, valid)
    out, out_valid = conv.to(memory_format=torch.channels_last)(
        features.contiguous(memory_format=torch.channels_last), valid
    )
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(out_valid, expected_valid)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_compile_gives_the_same_numbers():
    conv, features, valid = (
        PartialConv2d(4, 8, 3, padding=1, stride=2),
        torch.randn(2, 4, 9, 9),
        torch.rand(2, 1, 9, 9) < 0.5,
    )
    features[~valid.expand_as(features)] = math.nan
    compiled = torch.compile(conv, fullgraph=True)
    expected, expected_valid = conv(features, valid)
    out, out_valid = compiled(features, valid)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(out_valid, expected_valid)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_state_dict_is_the_plain_convolutions(n):
    partial_class, plain_class = MODULES[n]
    plain = plain_class(2, 4, 3, padding=1)
    partial = partial_class(2, 4, 3, padding=1)
    assert list(partial.state_dict()) == ["weight", "bias"]
    partial.load_state_dict(plain.state_dict(), strict=True)
    features = torch.randn(1, 2, *[6] * n)
    interior = (..., *[slice(1, -1)] * n)
    out, _ = partial(features, torch.ones(1, 1, *[6] * n))
    torch.testing.assert_close(out[interior], plain(features)[interior])


def test_validity_shared_by_the_batch_and_unbatched_features():
    conv, features, valid = PartialConv2d(3, 4, 3, padding=1), torch.randn(2, 3, 7, 7), torch.rand(1, 1, 7, 7) < 0.5
    expected, expected_valid = conv(features, valid.expand(2, -1, -1, -1))
    shared, shared_valid = conv(features, valid)
    assert torch.equal(shared, expected)
    assert torch.equal(shared_valid.expand_as(expected_valid), expected_valid)
    for form in (valid[0], [(valid[0], 1), (valid[0], 2)]):
        single, single_valid = conv(features[0], form)
        torch.testing.assert_close(single, expected[0])
        assert torch.equal(single_valid, expected_valid[0])


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes_with_content_pad_validity_alike(mode):
    conv, features, valid = (
        PartialConv2d(2, 3, 3, padding=1, padding_mode=mode),
        torch.randn(1, 2, 6, 6),
        torch.rand(1, 1, 6, 6) < 0.5,
    )
    padded, padded_valid = F.pad(features, [1] * 4, mode=mode), F.pad(valid.float(), [1] * 4, mode=mode)
    expected, expected_valid = by_definition(padded, padded_valid, conv.weight, conv.bias, 1, 0, 1, 1)
    out, out_valid = conv(features, valid)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(out_valid.expand_as(expected_valid), expected_valid)


@pytest.mark.parametrize(
    "valid",
    [
        torch.ones(1, 1, 5, 6),
        torch.ones(1, 2, 6, 6),
        torch.ones(3, 1, 6, 6),
        torch.ones(6, 6),
        [(torch.ones(1, 1, 6, 6), 2)],
        [(torch.ones(1, 1, 6, 6), 2), (torch.ones(1, 1, 6, 6), 2)],
    ],
)
def test_validity_of_another_shape_is_refused_with_both_shapes(valid):
    with pytest.raises(ValueError, match=r"validity .* does not fit features \(1, 3, 6, 6\)"):
        PartialConv2d(3, 4, 3)(torch.randn(1, 3, 6, 6), valid)


def test_a_weight_of_another_rank_is_refused():
    with pytest.raises(ValueError, match="partial_conv2d takes features"):
        partial_conv2d(torch.randn(1, 3, 6), None, torch.randn(4, 3, 3))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_partial_padding_equals_the_definition_with_everything_valid(data):
    features, _, weight, bias, stride, padding, dilation, groups = data.draw(layers(2))
    conv = PartialPadConv2d(
        features.shape[1], weight.shape[0], weight.shape[2:], stride, padding, dilation, groups, bias is not None
    ).double()
    conv.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    expected, _ = by_definition(features, torch.ones_like(features), weight, bias, stride, padding, dilation, groups)
    assert (conv(features) - expected).abs().max() <= 1e-10 * max(1.0, expected.abs().max().item())


def test_partial_padding_keeps_a_constant_picture_constant():
    conv = PartialPadConv2d(1, 1, 3, padding=1, bias=False)
    nn.init.constant_(conv.weight, 1 / 9)
    torch.testing.assert_close(conv(torch.full((1, 1, 5, 5), 7.0)), torch.full((1, 1, 5, 5), 7.0))


def test_partial_padding_refuses_padding_that_is_no_hole():
    with pytest.raises(ValueError, match="padding_mode must be 'zeros', not 'reflect'"):
        PartialPadConv2d(1, 1, 3, padding=1, padding_mode="reflect")
