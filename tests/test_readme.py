"""What the README shows works as it is written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import pconv
from pconv import UNetConfig
from pconv.cli import main
from pconv.models import find_model
from pconv.nn.checkpoint import read_checkpoint
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
            assert config_of(arguments).photos == Path("MY_PHOTOS")
        elif arguments[0] == "evaluate":
            assert unknown_options(arguments) == set()  # run by tests/evaluation
        elif arguments[0] == "serve":
            assert unknown_options(arguments) == set()  # run by tests/server
        elif "--model" not in arguments:  # the model that README trains does not exist here
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 0, result.output
    assert (empty_folder / "cat-filled.png").exists()
    assert len(list((empty_folder / "filled").glob("*.jpg"))) == 3


def config_of(arguments):
    return read_config(arguments[1], [a for a in arguments[2:] if "=" in a])


def unknown_options(arguments):
    group, rest = main, list(arguments)
    while rest and rest[0] in getattr(group, "commands", {}):
        group = group.commands[rest.pop(0)]
    options = {name for parameter in group.params for name in parameter.opts}
    return {a for a in rest if a.startswith("-")} - options


def test_the_pages_commands_are_understood():
    """With photos and cores one could run them: their configurations are read, their options exist."""
    seen = 0
    for page in ("training.md", "fine-tuning.md", "evaluation.md", "photos.md", "upscaling.md"):
        for line in (ROOT / "docs/guides" / page).read_text().splitlines():
            command, _, _ = line.partition("  #")
            if not re.match(r"(torchrun .*-m )?pconv ", command):
                continue
            arguments = shlex.split(command.partition("pconv ")[2])
            if arguments[0] == "train" and "..." not in arguments:
                config_of(arguments)
                arguments = arguments[:1]
            assert unknown_options(arguments) == set(), line
            seen += 1
    assert seen > 10


def test_the_model_cards_command_goes_on_from_the_whole_network_of_clean():
    command = re.search(r"^pconv (train .*init=clean.*)$", (ROOT / "docs/model-card.md").read_text(), re.M)
    arguments = shlex.split(command[1])
    assert unknown_options(arguments) == set()
    config = config_of(arguments)
    clean, _, _ = read_checkpoint(find_model(config.init), weights=False)
    assert {config.network(stage) for stage in config.stages} == {UNetConfig(**clean)}


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_pages_that_the_package_names_exist():
    named = {
        name
        for path in (ROOT / "src").rglob("*.[pt][yo]*")
        for name in re.findall(r"docs/[\w/-]+\.md", path.read_text())
    }
    assert len(named) > 3
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_reference_lists_every_public_name():
    page = (ROOT / "docs/reference/python.md").read_text()
    assert sorted(re.findall(r"^::: pconv\.(\w+)$", page, re.M)) == sorted(set(pconv.__all__) - {"__version__"})


def test_the_fine_tuning_example_makes_its_pictures(tmp_path):
    """And compares models on them, as docs/guides/fine-tuning.md says."""
    examples = ROOT / "examples"
    python = [
        sys.executable,
        str(examples / "fine_tuning_sets.py"),
        str(examples / "photos"),
        str(tmp_path / "prints"),
        "--age",
    ]
    subprocess.run([*python, "--train", "2", "--test", "2"], check=True, capture_output=True)
    assert len(list((tmp_path / "prints" / "train").iterdir())) == 2
    compare = [sys.executable, str(examples / "compare_models.py"), str(tmp_path / "prints" / "test")]
    done = subprocess.run([*compare, "default", "-o", str(tmp_path / "out.png")], check=True, capture_output=True)
    assert b"dB over the hole  default" in done.stdout
    assert (tmp_path / "out.png").exists()


def test_the_photos_pages_code_runs(empty_folder, capsys):
    page = (ROOT / "docs/guides/photos.md").read_text()
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], {})
    assert (empty_folder / "filled.tif").exists()
    assert capsys.readouterr().out.startswith("RGB (")


def test_the_onnx_pages_code_runs(empty_folder):
    page = (ROOT / "docs/guides/onnx.md").read_text()
    command = next(line for line in page.splitlines() if line.startswith("pconv export default -o model.onnx "))
    result = CliRunner().invoke(main, shlex.split(command.partition("  #")[0])[1:])
    assert result.exit_code == 0, result.output
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], {})
    assert (empty_folder / "filled.png").exists()
