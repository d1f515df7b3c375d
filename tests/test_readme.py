"""What the README shows works as it is written."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pconv.cli import main
from pconv.training.config import read_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_two_commands_stand_at_its_top():
    top = README.splitlines()[:6]
    assert any("make demo" in line for line in top)
    assert any("make test" in line for line in top)


def test_its_python_runs(empty_folder):
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.S))
    names = {}
    exec(code, names)
    assert (empty_folder / "filled.png").exists()
    assert names["filled"].shape == (240, 320, 3)


def test_its_commands_run(empty_folder):
    commands = [line for line in README.splitlines() if line.startswith("pconv ")]
    assert len(commands) >= 5
    for command in commands:
        _, *arguments = shlex.split(command)
        if arguments[0] == "train":
            overrides = [a for a in arguments[2:] if "=" in a]
            assert read_config(ROOT / arguments[1], overrides).photos == Path("MY_PHOTOS")
        elif "--model" not in arguments:  # the model that README trains does not exist here
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 0, result.output
    assert len(list((empty_folder / "masks").iterdir())) == 20
    assert (empty_folder / "cat-filled.png").exists()


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
