"""Every picture of the documentation has its source, and one command that makes it, in docs/images/README.md."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "images"
PICTURES = {path.name for path in FOLDER.iterdir()} - {"README.md"}
DRAWN_BY_HAND = {"data-path.svg"}
SOURCES, COMMANDS = (FOLDER / "README.md").read_text().split("## Commands")


def rows(table):
    """For each picture in the first column of a table: the rest of its row."""
    cells = [line.strip("|").split("|", 1) for line in table.splitlines() if line.startswith("| `")]
    return {name: rest for first, rest in cells for name in re.findall(r"`([^`]+)`", first)}


def test_every_picture_has_a_source_and_every_source_a_picture():
    assert set(rows(SOURCES)) == PICTURES


def test_every_picture_has_a_command_and_every_command_a_picture():
    commands = rows(COMMANDS)
    assert set(commands) == PICTURES
    without = {name for name, cell in commands.items() if not re.search(r"`(python|pconv|make) [^`]+`", cell)}
    assert without == DRAWN_BY_HAND


def test_the_commands_scripts_exist_with_their_options():
    seen = 0
    for command in re.findall(r"`python ([^`]+)`", COMMANDS):
        script, *arguments = command.split()
        text = (ROOT / script).read_text()
        assert [a for a in arguments if a.startswith("-") and f'"{a}"' not in text] == [], command
        seen += 1
    assert seen > 3
