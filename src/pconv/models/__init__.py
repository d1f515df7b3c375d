"""The models in the box, and finding any other: each as ONNX, to fill with, and as safetensors, to train on from."""

from __future__ import annotations

from pathlib import Path

from pconv.errors import ModelError

DEFAULT_MODEL = "default"
BUNDLED = (DEFAULT_MODEL,)

CHECKPOINT = ".safetensors"
GRAPH = ".onnx"
GRAPH_FORMAT = "pconv-fill-1"
"""What the metadata of our ONNX files say they are; another number where inputs or outputs change."""


def find_model(model: str | Path, suffix: str = CHECKPOINT) -> Path:
    """The file of a bundled model's name, in the form that ``suffix`` says, or the path itself.

    Raises:
        ModelError: neither a known name nor a file.
    """
    if str(model) in BUNDLED:
        return Path(__file__).parent / f"{model}{suffix}"
    try:
        if Path(model).is_file():
            return Path(model)
    except (OSError, ValueError):  # no name that a file could have
        pass
    raise ModelError(f"unknown model {str(model)!r}: bundled is {', '.join(BUNDLED)}; or give a model file's path")
