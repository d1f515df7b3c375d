"""The rooms, and which of them may import which."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pconv

ROOT = Path(pconv.__file__).parent
BASE = {"errors", "files", "models", "signals"}
MAY_IMPORT = {
    "models": BASE,
    "nn": BASE,
    "images": {"errors", "files"},
    "masks": BASE | {"images"},
    "inpainting": BASE | {"nn", "images", "masks"},
    "batch": BASE | {"images", "masks", "inpainting"},
    "report": BASE | {"images", "masks", "batch"},
    "training": BASE | {"nn", "images", "masks", "report"},
    "evaluation": BASE | {"nn", "images", "masks", "inpainting", "training", "report"},
    "grid": BASE | {"nn", "report"},
    "server": BASE | {"images", "masks", "inpainting"},
}
MODULES = {
    ".".join(["pconv", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def imports(path):
    """What a file imports, at its top and inside functions: ``from a import b`` as ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def circles(graph):
    """Circles of a graph ``{module: modules it imports}``, each as "a -> b -> a"; takes one arrow of each away."""
    found = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = error.args[1][::-1]
            found.append(" -> ".join(circle))
            graph[circle[0]].remove(circle[1])
        else:
            return found


def test_every_room_has_its_rule():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == MAY_IMPORT.keys() | {"cli"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_what_lies_below_them(room):
    for module, path in MODULES.items():
        if f"{module}.".startswith(f"pconv.{room}."):
            for name in imports(path):
                if name.startswith("pconv."):
                    assert name.split(".")[1] in MAY_IMPORT[room] | {room}, f"{path} imports {name}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {}
    for module, path in MODULES.items():
        names = [name if name in MODULES else name.rpartition(".")[0] for name in imports(path)]
        graph[module] = sorted(set(names) & MODULES.keys())
    found = circles(graph)
    assert not found, "\n".join(found)


def test_circles_are_found():
    assert circles({"a": ["b", "d"], "b": ["c"], "c": ["a"], "d": ["d"]}) == ["a -> b -> c -> a", "d -> d"]


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
print([m for m in ("torch", "numpy", "PIL", "pydantic", "onnxruntime", "cv2") if m in sys.modules])
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
