from pathlib import Path

import pytest

from pconv import InputError
from pconv.training.config import read_config

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
        read_config(path)


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
        ("hole_wieght = 1\n" + GOOD, [], "unknown key 'hole_wieght'; did you mean 'hole_weight'"),
        (GOOD.replace("size = 64", "siez = 64"), [], "unknown key 'stages.0.siez'; did you mean 'size'"),
        (GOOD.replace('photos = "photos"', ""), [], "'photos' is missing"),
        (GOOD.replace("steps = 10", "steps = 0"), [], "stages.0.steps: Input should be greater than 0"),
        ('model = "huge"\n' + GOOD, [], "unknown model 'huge'; known are paper"),
        (GOOD, ["seed"], "'seed' is no override: write key=value"),
        (GOOD, ["stages.1.lr=1"], "has no 'stages.1.lr' to override"),
        (GOOD, ["stages.0.hole_ratio=[0.5, 0.2]"], "hole_ratio needs low <= high"),
        (GOOD, ["photos="], "'photos=' is no override"),
        (GOOD, ["stages.0.lr=inf"], "stages.0.lr: Input should be a finite number"),
        (GOOD, ["stages.0.batch_size=1"], "with batch_size 1, model 'small' needs a size above 128, got 64"),
    ],
)
def test_mistakes_are_explained(config, text, overrides, message):
    with pytest.raises(InputError, match=message):
        read_config(config(text), overrides)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot read the configuration"):
        read_config(tmp_path / "none.toml")
