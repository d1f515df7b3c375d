"""The short examples run as they stand, in an empty folder."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = {
    "fill_photo.py": ("astronaut-filled.png: 512x512, RGB", ["astronaut-filled.png"]),
    "remove_thing.py": ("coffee-filled.jpg: ", ["coffee-filled.jpg"]),
    "many_photos.py": ("coffee.jpg: ", ["filled"]),
    "tensors.py": ("filled (4, 3, 64, 96) on cpu; mean error ", []),
}


@pytest.mark.parametrize("name", SHORT)
def test_example(name, tmp_path):
    says, leaves = SHORT[name]
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == leaves
    assert len((EXAMPLES / name).read_text().splitlines()) < 40
