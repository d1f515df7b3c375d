import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import typing
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from pconv import PRESETS, InputError
from pconv.cli import main
from pconv.training.config import Stage, TrainConfig, presets, read_config, write_config
from pconv.training.losses import LossWeights
from pconv.training.texture import TextureWeights

ROOT = Path(__file__).parents[2]
GOOD = """
photos = "photos"
[[stages]]
steps = 10
size = 64
batch_size = 2
lr = 1e-3
"""


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write


def test_every_shipped_configuration_is_valid():
    files = sorted((ROOT / "configs").glob("*.toml"))
    assert {f.stem for f in files} >= {"default", "debug"}
    for path in files:
        with pytest.raises(InputError, match="set one of photos=FOLDER"):
            read_config(path)
        assert read_config(path.stem, ["photos=some"]) == read_config(path, ["photos=some"])
    assert presets() == sorted(f.stem for f in files)


@pytest.mark.parametrize("name", presets())
def test_help_and_guide_name_every_preset(name):
    said = " ".join(CliRunner().invoke(main, ["train", "--help"]).output.split())
    assert name in re.search(r"one of the presets: ([a-z, ]+)\.", said)[1].split(", ")
    assert f"\n| `{name}` | " in (ROOT / "docs" / "guides" / "training.md").read_text()


SOURCE = re.compile(r"\([^()]*(Liu et al\.|\b(19|20)\d\d\b|\bours\b|PyTorch|common practice)[^()]*\)")


def held_classes(hint):
    """This project's classes in a type such as ``tuple[Stage, ...]``, and those that their fields hold."""
    for part in typing.get_args(hint):
        yield from held_classes(part)
    if inspect.isclass(hint) and hint.__module__.startswith("pconv."):
        yield hint
        for inner in fields(hint).values():
            yield from held_classes(inner)


def fields(kind):
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def documentation(kind):
    """The string below each attribute of a class, by its name."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body
    return {
        node.target.id: below.value.value
        for node, below in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def without_source(kind):
    said = documentation(kind)
    return [name for name in fields(kind) if not SOURCE.search(said.get(name, ""))]


def test_every_setting_has_its_line_and_its_source():
    kinds = set(held_classes(TrainConfig))
    assert kinds == {TrainConfig, Stage, LossWeights, TextureWeights}
    assert {kind.__name__: without_source(kind) for kind in kinds} == {kind.__name__: [] for kind in kinds}


def test_a_setting_without_a_line_or_a_source_is_found():
    @dataclasses.dataclass
    class Example:
        """Settings."""

        bare: int = 0
        said: int = 0
        """Steps (ours)."""
        unsourced: int = 0
        """Steps between saves (colours)."""
        last: int = 0

    assert without_source(Example) == ["bare", "unsourced", "last"]


PAPER_STAGE = {
    "size": 512,
    "batch_size": 6,
    "schedule": "constant",
    "decay": 0.33,  # of the linear schedule alone
    "warmup_steps": 0,
    "optimizer": "adamw",
    "adamw_lr": None,
    "betas": (0.9, 0.999),
    "clip_norm": None,
    "loss": {"valid": 1, "hole": 6, "perceptual": 0.05, "style": 120, "tv": 0.1, "rim": 0},
    "balance": 0,
    "rim_reach": 3.5,  # of the rim term alone
    "composite_only": False,
    "texture": None,
    "discriminator_lr": 4e-4,  # of the texture terms alone
    "network": {},
    "mixture": 1,
    "holes": "irregular",
    "dense_thin_share": 0,
    "hole_ratio": (0.01, 0.6),
    "smallest_zoom": 1,
    "turned_share": 0,
    "recoloured_share": 0,
    "freeze_norm": False,
}


def test_the_papers_configuration_has_the_papers_values():
    """Liu et al., section 4: Adam, 2e-4 then 5e-5 with the encoder's batch norm frozen, batches of 6 at 512 px.

    All settings are named, so that no new one, and no other default, changes the recipe unseen.
    """
    assert read_config("paper", ["photos=some"]).model_dump() == {
        "photos": Path("some"),
        "shards": (),
        "validation": None,
        "masks": None,
        "mask_polarity": "auto",
        "model": "paper",
        "convolution": "partial",
        "init": None,
        "vgg": None,
        "stages": (
            PAPER_STAGE | {"steps": 1_000_000, "lr": 2e-4, "freeze_encoder_norm": False},
            PAPER_STAGE | {"steps": 100_000, "lr": 5e-5, "freeze_encoder_norm": True},
        ),
        "accumulate": 1,
        "weight_decay": 0,  # AdamW is Adam then
        "batch_norm_momentum": 0.1,
        "ema": 0,
        "sync_batch_norm": False,
        "precision": "fp32",
        "compile": False,
        "device": "auto",
        "seed": 0,
        "workers": 2,
        "cache_gb": 2,
        "log_every": 50,
        "validate_every": 1000,
        "save_every": 1000,
    }


def test_the_default_configuration_is_the_bundled_models_recipe():
    """docs/model-card.md; a change here is another recipe, and asks for another figure of parity."""
    config = read_config("default", ["photos=some"])
    fidelity, wide, texture = config.stages
    assert [s.steps * s.batch_size for s in config.stages] == [134_800, 83_296, 66_000]
    assert [(s.size, s.batch_size, s.lr, s.optimizer) for s in config.stages] == [
        (128, 16, 1.5e-3, "muon"), (256, 8, 1.2e-3, "muon"), (128, 16, 2e-4, "adamw"),
    ]  # fmt: skip
    assert [(s.rim_reach, s.balance, s.dense_thin_share) for s in config.stages] == [
        (3.5, 0.8, 0.6), (5.0, 0.7, 0.4), (5.0, 0.7, 0.2),
    ]  # fmt: skip
    assert fidelity.network == wide.network
    assert config.network(fidelity).noise_levels == 0
    assert config.network(fidelity).blocks == (0, 5, 3, 1)
    assert config.network(texture) == PRESETS["default"]
    assert (texture.mixture, texture.freeze_norm, texture.betas) == (0.7, True, (0.5, 0.99))
    assert texture.texture == TextureWeights()


def test_a_written_configuration_reads_back_the_same(tmp_path):
    config = read_config("default", ["photos=some", "stages.0.clip_norm=0.5", "stages.1.loss.style=3"])
    write_config(config, tmp_path / "config.toml")
    assert read_config(tmp_path / "config.toml") == config
    assert config.stages[1].loss.style == 3


def test_batches_are_split_evenly():
    config = read_config("debug", ["photos=some", "stages.0.batch_size=8", "accumulate=2"])
    config.check_split(4)
    with pytest.raises(
        ValueError, match="batch_size 8 cannot be split into 2 micro-batches for each of 3 processes: make it a"
    ):
        config.check_split(3)


def test_overrides_reach_everywhere_and_are_typed(config):
    read = read_config(config(GOOD), ["seed=7", "stages.0.lr=5e-4", "photos=some/folder", "stages.0.schedule=cosine"])
    assert read.seed == 7
    assert read.stages[0].lr == 5e-4
    assert read.stages[0].schedule == "cosine"
    assert read.photos == Path("some/folder")
    assert read.steps == 10
    assert read_config(config(GOOD), ["photos=2024"]).photos == Path("2024")


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("photos = ", [], "is not a TOML file"),
        (GOOD + "\nweight_dekay = 1", [], r"unknown key 'stages.0.weight_dekay'"),
        ("sede = 1\n" + GOOD, [], "unknown key 'sede'; did you mean 'seed'"),
        (GOOD + "texture = {adversrial = 1.0}", [], "unknown key 'stages.0.texture.adversrial'; did you mean"),
        (GOOD + "texture = {gradients = -1.0}", [], "stages.0.texture.*must be 0 or more"),
        (GOOD, ["stages.0.dense_thin_share=0.5"], "dense_thin_share belongs to holes = 'mixed'"),
        (GOOD, ["stages.0.adamw_lr=1e-4"], "adamw_lr belongs to optimizer = 'muon'"),
        (GOOD, ["stages.0.network.depth=3"], r"stages\.0\.network: .*depth"),
        (GOOD, ["stages.0.network.noise_levels=2"], "stages.0.network can only have fewer blocks and noise_levels"),
        (GOOD, ["stages.0.network.noise_levels=9"], "stages.0.network: noise_levels must lie in"),
        (GOOD, ["precision=fp16", "stages.0.optimizer=muon"], "fp16 scales gradients for one optimiser only"),
        (GOOD + "texture = {}", ["accumulate=2"], "accumulate must be 1 with texture"),
        (GOOD, ["stages.0.betas=[0.9, 1.0]"], "stages.0.betas.1: Input should be less than 1"),
        (GOOD + "loss = {stile = 1.0}", [], "unknown key 'stages.0.loss.stile'; did you mean 'style'"),
        (GOOD, ["stages.0.loss.tv=-1"], r"stages\.0\.loss.*tv"),
        (GOOD.replace("size = 64", "siez = 64"), [], "unknown key 'stages.0.siez'; did you mean 'size'"),
        (GOOD.replace('photos = "photos"', ""), [], "set one of photos=FOLDER and shards=SHARDS"),
        (GOOD.replace("steps = 10", "steps = 0"), [], "stages.0.steps: Input should be greater than 0"),
        ('model = "huge"\n' + GOOD, [], "unknown model 'huge'; known are paper"),
        (GOOD, ["seed"], "'seed' is no override: write key=value"),
        (GOOD, ["stages.1.lr=1"], "has no 'stages.1.lr' to override"),
        (GOOD, ["stages.0.hole_ratio=[0.5, 0.2]"], "hole_ratio needs low <= high"),
        (GOOD, ["photos="], "'photos=' is no override"),
        (GOOD, ["stages.0.lr=inf"], "stages.0.lr: Input should be a finite number"),
        (GOOD, ["shards=some.tar"], "set one of photos=FOLDER and shards=SHARDS"),
        (GOOD, ["stages.0.batch_size=1"], "one image at a time, model 'small' needs a size above 128, got 64"),
        (GOOD, ["accumulate=3"], "batch_size 2 cannot be split into 3 micro-batches"),
    ],
)
def test_mistakes_are_explained(config, text, overrides, message):
    with pytest.raises(InputError, match=message):
        read_config(config(text), overrides)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.toml: neither a file nor one of ablation, debug, default, finetune"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot read the configuration"):
        read_config(tmp_path)


def test_a_url_to_start_from_stays_as_it_is(tmp_path):
    url = "https://example.org/model.safetensors#sha256=" + "0" * 64
    config = read_config("finetune", [f"photos={tmp_path}", f"init={url}"])
    assert config.init == url
    write_config(config, tmp_path / "again.toml")
    assert read_config(str(tmp_path / "again.toml"), []).init == url
