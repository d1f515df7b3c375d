"""The rooms, and which of them may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pconv

ROOT = Path(pconv.__file__).parent
BASE = {"errors", "files", "models"}
MAY_IMPORT = {
    "models": BASE,
    "nn": BASE,
    "images": {"errors", "files"},
    "masks": BASE | {"images"},
    "inpainting": BASE | {"nn", "images", "masks"},
    "batch": BASE | {"images", "masks", "inpainting"},
    "report": BASE | {"images", "masks", "batch"},
    "training": BASE | {"nn", "images", "masks"},
    "evaluation": BASE | {"nn", "images", "masks", "inpainting", "training", "report"},
    "server": BASE | {"images", "masks", "inpainting"},
}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_what_lies_below_them(room):
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports relatively"
                whole = node.module == "pconv"
                names += [f"pconv.{a.name}" if whole else node.module or "" for a in node.names]
            for name in names:
                if name.startswith("pconv."):
                    assert name.split(".")[1] in MAY_IMPORT[room] | {room}, f"{path} imports {name}"


def test_every_public_name_is_there_and_documented():
    stub = ast.parse((ROOT / "__init__.pyi").read_text())
    named = [node.names[0].name for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert sorted(pconv.__all__) == sorted([*named, "__version__"])
    for name in pconv.__all__:
        assert getattr(pconv, name) is not None
        if name not in ("PRESETS", "__version__"):
            assert getattr(pconv, name).__doc__
    with pytest.raises(AttributeError, match="attribute nothing"):
        pconv.nothing  # noqa: B018


def test_importing_pconv_or_asking_for_help_loads_nothing_heavy():
    code = """
import sys, pconv.cli
try: pconv.cli.main(["inpaint", "--help"])
except SystemExit: pass
print([m for m in ("torch", "numpy", "PIL", "pydantic", "onnxruntime", "cv2", "rich") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_inference_loads_neither_training_nor_torch():
    code = """
import sys, numpy, pconv
hole = numpy.eye(64, dtype=bool)
pconv.Inpainter(backend="onnxruntime")(numpy.full((64, 64), 0.5), hole)
print([m for m in sys.modules if "pconv.training" in m or m == "torch"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
