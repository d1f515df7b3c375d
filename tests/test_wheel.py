"""What someone gets who only wants holes filled: the wheel and its own needs, in an empty environment."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
MOST_INSTALLED_MB = 230
NOT_OF_PCONV = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The scripts' folder of an environment with the wheel and nothing else of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = ["-m", "pip", "--disable-pip-version-check"]
    run(sys.executable, *pip, "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(python, *pip, "install", "-q", "-c", ROOT / "constraints.txt", *folder.glob("*.whl"))
    return python.parent


def test_it_is_small_and_has_no_torch(base):
    sites = next(Path(base).parent.rglob("site-packages"))
    files = [path for path in sites.rglob("*") if path.is_file()]
    ours = [path for path in files if not path.relative_to(sites).parts[0].startswith(NOT_OF_PCONV)]
    megabytes = sum(path.stat().st_size for path in ours) / 1e6
    assert 50 < megabytes < MOST_INSTALLED_MB
    assert not (sites / "torch").exists()
    assert not (sites / "safetensors").exists()


def test_it_credits_the_photos_of_the_model_clean(base):
    """CC BY asks for it wherever the model goes."""
    credits = Path("pconv", "models", "clean-photos.tsv")
    sites = next(Path(base).parent.rglob("site-packages"))
    assert (sites / credits).read_bytes() == (ROOT / "src" / credits).read_bytes()


def test_it_fills_a_hole(base, tmp_path):
    photo, mask = (ROOT / "examples" / "photos" / name for name in ("cat.jpg", "cat-mask.png"))
    done = run(base / "pconv", "inpaint", photo, mask, "-o", "out.png", "-v", cwd=tmp_path)
    assert "with onnxruntime on cpu in fp32" in done.stderr
    before, after = np.asarray(Image.open(photo)), np.asarray(Image.open(tmp_path / "out.png"))
    hole = np.asarray(Image.open(mask).convert("L")) > 127
    assert np.array_equal(before[~hole], after[~hole])
    errors = np.abs(after.astype(float) - before)[hole].mean()
    assert errors < np.abs(before[~hole].mean(axis=0) - before)[hole].mean() / 3


def test_python_without_torch(base, tmp_path):
    code = """
import numpy as np, pconv
hole = pconv.irregular_hole(60, 80, (0.1, 0.2), generator=np.random.default_rng(0))
image = np.full((60, 80, 3), 0.4)
try: pconv.PartialConv2d
except ModuleNotFoundError as error: assert "PartialConv2d needs PyTorch: pip install torch safetensors" in str(error)
else: raise SystemExit("torch is here")
assert 0 < abs(pconv.inpaint(image, hole) - 0.4)[hole].mean() < 0.1
"""
    run(base / "python", "-c", code, cwd=tmp_path)


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("export default -o model.onnx", r"torch.*pip install '\.\[train\]'"),
        ("train debug photos=. --out run", r"pip install '\.\[train\]'"),
        ("inpaint p.png p.png -o o.png --backend torch", r"pip install torch safetensors"),
        ("inpaint p.png p.png -o o.png --device cuda", r"pip install torch safetensors"),
        ("inpaint p.png p.png -o o.png --model m.safetensors", r"pip install torch safetensors"),
    ],
)
def test_what_needs_more_says_what_to_install(base, tmp_path, command, needed):
    Image.fromarray(np.eye(20, dtype=bool)).save(tmp_path / "p.png")
    (tmp_path / "m.safetensors").touch()
    done = subprocess.run([base / "pconv", *command.split()], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert re.search(needed, done.stderr), done.stderr


def test_info_says_what_is_here(base):
    said = run(base / "pconv", "info").stdout
    assert re.search(r"backend onnxruntime: [\d.]+, on cpu", said)
    assert "backend torch: not installed (pip install torch safetensors)" in said
    assert re.search(r"model default: .*default\.onnx, [\d.]+ MB, sha256 [0-9a-f]{64}", said)
