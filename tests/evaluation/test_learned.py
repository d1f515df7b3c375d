"""LPIPS, FID and the Inception score with small stand-ins for the networks: what is computed, not how good it is."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn
from torchmetrics.functional.image import lpips as reference

from pconv.cli import main
from pconv.errors import EvaluationError
from pconv.evaluation import learned
from pconv.evaluation.learned import LearnedWeights, Lpips
from pconv.training.features import VGG16Features


class StandIn(nn.Module):
    """Inception's interface: six features of an image, or probabilities of four classes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-2, 2, 24).view(6, 4))
        self.bias = nn.Parameter(torch.tensor([60.0, 0.0, 0.0, 0.0]))

    def forward(self, images: torch.Tensor, return_features: bool = False, no_output_bias: bool = False):
        pixels = images.to(torch.float32).flatten(2) / 64
        features = torch.cat([pixels.mean(2), pixels.std(2)], 1)
        if return_features:
            return features
        logits = features @ self.weight
        return torch.softmax(logits if no_output_bias else logits + self.bias, 1)


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception-2015-12-05.pt"
    torch.jit.script(StandIn()).save(path)
    return path


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """All five blocks with random weights, in half precision."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    save_file({name: value.half() for name, value in VGG16Features(5).state_dict().items()}, path)
    return path


def pictures(seed, count=1):
    """Noise of another brightness and colour in each."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (count, 48, 40, 3))
    return (noise * generator.uniform(0.2, 1, (count, 1, 1, 3))).astype(np.uint8)


def layers_of_torchvision(path):
    """``torchvision.models.vgg16().features`` with the same weights: pooling comes after the ReLU there."""
    mine = learned.Lpips(path)._vgg.features
    layers = list(mine)
    for place, layer in enumerate(layers[:-1]):
        if isinstance(layer, nn.MaxPool2d):
            layers[place], layers[place + 1] = nn.ReLU(), layer
    return nn.Sequential(*layers)


def test_lpips_is_that_of_torchmetrics(vgg, monkeypatch):
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda *_: layers_of_torchvision(vgg))
    theirs, mine = reference._LPIPS(net="vgg"), Lpips(vgg)
    (one, other), (third, _) = pictures(1, 2), pictures(2, 2)
    for image, truth in ((one, other), (one, third), (one // 2, one)):
        with torch.no_grad():
            wanted = theirs(learned._tensor(image) / 255, learned._tensor(truth) / 255, normalize=True)
        assert mine(image, truth) == pytest.approx(float(wanted), rel=1e-3)
        assert mine(image, truth) > 1e-4
    assert mine(one, one) == 0


@pytest.fixture
def results(monkeypatch):
    """Two methods with composites of 20 photos each; the second one's are the truth."""
    methods = [SimpleNamespace(name="noise"), SimpleNamespace(name="truth")]
    truths, noises = pictures(3, 20), np.minimum(pictures(4, 20), 160)
    composites = {"noise": noises, "truth": truths}
    tasks = [
        SimpleNamespace(method=method, pair=SimpleNamespace(name=str(n))) for method in methods for n in range(20)
    ]

    def finished(_, tasks, __):
        for task in tasks:
            number = int(task.pair.name)
            yield task, composites[task.method.name][number], truths[number]

    monkeypatch.setattr(learned, "_finished", finished)
    scores = {(task.method.name, task.pair.name): SimpleNamespace(values={}) for task in tasks}
    return SimpleNamespace(methods=methods, scores=scores, whole={}, pairs=range(20)), tasks, composites, truths


def test_fid_and_inception_score_follow_their_definitions(results, inception):
    found, tasks, composites, truths = results
    notes = learned.learned_metrics(found, tasks, None, LearnedWeights(inception=inception))
    assert notes[0].startswith("LPIPS: not measured")
    assert notes[1].startswith("FID of 20 images: compare it only with")
    network = StandIn()
    with torch.no_grad():

        def run(images, **how):
            return network(torch.from_numpy(images).permute(0, 3, 1, 2), **how).double().numpy()

        a, b = run(composites["noise"], return_features=True), run(truths, return_features=True)
        p = run(composites["noise"], no_output_bias=True)
    product = np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T))
    covariances = np.trace(np.cov(a.T) + np.cov(b.T)) - 2 * np.sqrt(product.astype(complex)).real.sum()
    fid = ((a.mean(0) - b.mean(0)) ** 2).sum() + covariances
    score = np.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert found.whole["noise"]["FID"] == pytest.approx(fid, rel=1e-3)
    assert found.whole["noise"]["Inception score"] == pytest.approx(score, rel=1e-4)
    assert found.whole["truth"]["FID"] == pytest.approx(0, abs=1e-4)
    assert fid > 0.1
    assert score > 1.005  # with the bias, all images would be of one class


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"lpips": "text"}, "is not a file of weights, or is damaged"),
        ({"lpips": "two"}, "LPIPS needs all 5 blocks of VGG-16, and .*two.safetensors has the first 2"),
        ({"inception": "text"}, "text.pt cannot be used as inception-2015-12-05.pt"),
        ({"inception": "other"}, "other.pt cannot be used as inception-2015-12-05.pt"),
    ],
)
def test_other_files_are_told_in_a_sentence(weights, message, results, tmp_path):
    save_file(VGG16Features(2).state_dict(), tmp_path / "two.safetensors")
    (tmp_path / "text.pt").write_text("no weights")
    torch.jit.script(nn.Conv2d(3, 4, 3)).save(tmp_path / "other.pt")
    paths = {kind: next(tmp_path.glob(f"{name}.*")) for kind, name in weights.items()}
    found, tasks, *_ = results
    with pytest.raises(EvaluationError, match=message):
        learned.learned_metrics(found, tasks, None, LearnedWeights(**paths))


def test_without_torchmetrics_the_report_says_so(results, vgg, inception, monkeypatch):
    monkeypatch.setattr(learned, "_installed", lambda: False)
    found, tasks, *_ = results
    notes = learned.learned_metrics(found, tasks, None, LearnedWeights(vgg, inception))
    assert notes == [
        "LPIPS: not measured, torchmetrics is not installed: pip install torchmetrics",
        "FID and Inception score: not measured, torchmetrics is not installed: pip install torchmetrics",
    ]
    assert not found.whole


@pytest.mark.slow
def test_one_command_gives_all_three(photos, vgg, inception, tmp_path):
    out = tmp_path / "out"
    arguments = ["--photos", photos, "--model", "none", "--against", "mean,telea", "--per-cell", 1, "--jobs", 1]
    files = ["--lpips", vgg, "--inception", inception]
    result = CliRunner().invoke(main, ["evaluate", *map(str, [*arguments, *files, "-o", out])])
    assert result.exit_code == 0, result.output
    assert "not measured, they need VGG-16's" in result.output
    assert "LPIPS: not measured" not in result.output
    with (out / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert all(float(row["lpips"]) > 0 for row in rows)
    summary = json.loads((out / "summary.json").read_text())
    assert "lpips" in summary["differences"]["telea"]
    text = json.dumps(summary)
    assert text.count('"FID"') == 2
    markdown = (out / "results.md").read_text()
    assert "## LPIPS (" in markdown
    assert "Inception score" in markdown
