"""The default model's network in every form against the reference, and against what is stored of its outputs."""

import numpy as np
import pytest
import torch
from make_vectors import EVERY, VECTORS, restored, stored
from nets import COMPLETE, assert_agree, random_case, some_net
from reference_unet import reference_of

from pconv import UNetConfig, load_network
from pconv.inpainting.backends import open_backend
from pconv.models import find_model
from pconv.nn import unet
from pconv.nn.fused import FusedUNet
from pconv.nn.onnx_export import save_onnx
from pconv.nn.surface import smooth_surface

FP32, BF16 = 1e-3, 2e-2

KIND = {
    "mean": 0.5,
    "std": 0.25,
    "encoder_slope": 0.1,
    "decoder_slope": 0.1,
    "surface": "correction",
    "surface_skip": True,
}
CONFIGS = {
    "complete": COMPLETE,
    "two levels": UNetConfig((4, 6), (3, 5), **KIND, surface_levels=(1,), blocks=(2,), noise_levels=1),
    "deeper": UNetConfig((6, 8, 8, 10), (5, 3, 3, 3), **KIND, surface_levels=(2, 3), blocks=(0, 1, 1), noise_levels=3),
    "without noise": UNetConfig((6, 8, 8), (3, 3, 3), **KIND, surface_levels=(1,), blocks=(1,)),
    "surface and skip alone": UNetConfig((6, 8, 8), (7, 5, 3), **KIND),
}


def surface_of(config, image, valid):
    """As the reference takes it, in 0..1."""
    levels = len(config.channels)
    return smooth_surface(torch.where(valid, image - config.mean, 0), valid, levels) + config.mean


def by_reference(net, image, valid, seed):
    with torch.no_grad():
        return reference_of(net)(image, valid.float(), surface_of(net.config, image, valid), seed)


def eager(net):
    return torch.no_grad()(net)


def in_phases(net):
    """Each decoder level as transposed convolution, however small its map is."""

    @torch.no_grad()
    def predict(image, valid, seed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pconv.nn.phases.SMALLEST_PHASED", 0)
            return net(image, valid, seed=seed)

    return predict


def without_phases(net):
    @torch.no_grad()
    def predict(image, valid, seed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pconv.nn.phases.SMALLEST_PHASED", 2**62)
            return net(image, valid, seed=seed)

    return predict


def fused(net):
    return FusedUNet(net)


OUTPUTS = [eager, in_phases, without_phases, fused]
"""Forms that give the output for every pixel, not clipped."""


@pytest.mark.parametrize("form", OUTPUTS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_small_networks_give_what_the_reference_gives(config, form):
    net = some_net(config)
    image, valid = random_case(1, 2, 3, 4 * config.multiple, 6 * config.multiple, known=0.4)
    valid[0, :, : 3 * config.multiple, : 3 * config.multiple] = False
    expected = by_reference(net, image, valid, seed=9)
    assert (expected - surface_of(config, image, valid)).abs().mean() > 0.05  # the network's own part is seen
    assert_agree(form(net)(image, valid, seed=9), expected, 1e-5)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_graphs_of_small_networks_give_what_the_reference_gives(config, backend, tmp_path):
    net = some_net(config)
    save_onnx(net, tmp_path / "net.onnx", {})
    image, valid = random_case(1, 2, 3, 4 * config.multiple, 6 * config.multiple, known=0.4)
    expected = by_reference(net, image, valid, seed=9).clamp(0, 1)
    got = open_backend(tmp_path / "net.onnx", "cpu", backend, "fp32").fill(image.numpy(), ~valid.numpy(), seed=9)
    assert_agree(got, unet.composite(image, expected, valid), 1e-5)


def test_training_mode_and_its_gradients_are_the_references():
    net = some_net(CONFIGS["without noise"]).double().train()
    reference = reference_of(net).double()
    image, valid = random_case(2, 3, 3, 32, 24, known=0.5)
    image = image.double()
    surface = surface_of(net.config, image, valid)
    for each, arguments in ((net, (image, valid)), (reference, (image, valid.double(), surface))):
        each(*arguments).square().mean().backward()
    again = reference_of(net).double()
    for name, expected in reference.named_buffers():
        torch.testing.assert_close(dict(again.named_buffers())[name], expected)
    gradients = {name: parameter.grad.clone() for name, parameter in reference.named_parameters()}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter.grad)
    for name, ours in reference_of(net).named_parameters():
        torch.testing.assert_close(ours, gradients[name].float(), rtol=1e-5, atol=1e-8)


@pytest.fixture(scope="module")
def default():
    return load_network(find_model("default"))[0]


@pytest.fixture(scope="module")
def vectors():
    """The photo and its holes; the surface and the outputs by seed, of every third row and column."""
    kept = np.load(VECTORS)
    outputs = {int(seed): restored(output) for seed, output in zip(kept["seeds"], kept["outputs"], strict=True)}
    return torch.tensor(kept["image"]) / 255, ~torch.tensor(kept["hole"]), restored(kept["surface"]), outputs


def thinned(maps):
    return maps[..., ::EVERY, ::EVERY]


def test_the_vectors_are_those_of_the_reference(default, vectors):
    image, valid, surface, outputs = vectors
    assert VECTORS.stat().st_size < 400_000
    assert_agree(thinned(surface_of(default.config, image, valid)), surface, 1e-4)
    assert len(outputs) == 3
    for seed, expected in outputs.items():
        output = by_reference(default, image, valid, seed)
        assert_agree(thinned(output), expected, 1e-4)
        assert_agree(restored(stored(output)), thinned(output), 1e-4)  # how they are kept is exact enough


@pytest.mark.parametrize("form", OUTPUTS)
def test_the_bundled_network_gives_the_vectors(default, vectors, form):
    image, valid, surface, outputs = vectors
    predict = form(default)
    for seed, expected in outputs.items():
        got = thinned(predict(image, valid, seed=seed))
        assert_agree(got, expected, FP32)
        assert_agree(got, expected, FP32, ~thinned(valid))
    assert (expected - surface).abs()[~thinned(valid).expand_as(expected)].mean() > 10 * FP32


def test_the_bundled_network_gives_the_vectors_in_bf16(default, vectors):
    image, valid, _, outputs = vectors
    predict = FusedUNet(default, torch.bfloat16)
    for seed, expected in outputs.items():
        got = thinned(predict(image, valid, seed=seed))
        assert got.dtype == torch.float32
        assert (got - expected).abs().mean() > 1e-5  # it is bf16
        assert_agree(got, expected, BF16)
        assert_agree(got, expected, BF16, ~thinned(valid))


@pytest.mark.parametrize(
    ("backend", "precision"),
    [("onnxruntime", "fp32"), ("openvino", "fp32"), ("torch", "fp32"), ("torch", "bf16")],
)
def test_every_backend_gives_the_vectors(vectors, backend, precision):
    image, valid, _, outputs = vectors
    opened = open_backend("default", "cpu", backend, precision)
    for seed, expected in outputs.items():
        filled = thinned(torch.tensor(opened.fill(image.numpy(), ~valid.numpy(), seed=seed)))
        assert_agree(filled, expected.clamp(0, 1), {"fp32": FP32, "bf16": BF16}[precision], ~thinned(valid))
        assert torch.equal(*(torch.where(thinned(valid), each, 0) for each in (filled, thinned(image))))


def test_the_compiled_network_gives_what_the_reference_gives():
    net = some_net(COMPLETE)
    image, valid = random_case(3, 1, 3, 24, 16, known=0.5)
    predict = torch.no_grad()(torch.compile(net, backend="eager", fullgraph=True))
    for seed in (3, 5):
        assert_agree(predict(image, valid, seed=seed), by_reference(net, image, valid, seed), 1e-5)


@pytest.mark.slow
def test_the_compiled_bundled_network_gives_the_vectors(default, vectors):
    image, valid, _, outputs = vectors
    fused = FusedUNet(default)
    run = torch.compile(fused.run, backend="eager", fullgraph=True)
    inputs = unet.prepare(default.config, image, valid)
    for seed, expected in outputs.items():
        predicted = run(inputs, fused.plan(inputs.known.valid, seed))
        assert_agree(thinned(unet.finish(default.config, predicted, inputs.surface)), expected, FP32)
