"""The state of a run: all that continuing needs, in one file; and the error where files cannot be written."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pconv.errors import TrainingError

MODEL_FILE = "model.safetensors"
STATE_FILE = "state.pt"
STATE_KEYS = {
    "net", "averaged", "optimizer", "precision", "step", "skipped", "best", "photos", "places", "config",
}  # fmt: skip


@contextmanager
def writing_run(folder: Path) -> Iterator[None]:
    """What the block writes goes to the run's folder.

    Raises:
        TrainingError: the system could not write it: a full disk, a quota, no permission.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        how = "go on with --resume from what was saved before" if (folder / STATE_FILE).exists() else "start again"
        raise TrainingError(f"cannot write to {folder}: {reason}; when that is removed, {how}") from error


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write ``state`` (tensors and plain values only).

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # PyTorch's own, about the file's position, covers the system's
            while error.__context__:
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                error = error.__context__  # type: ignore[assignment]
            raise


def load_state(folder: Path) -> dict[str, Any]:
    """Read what ``save_state`` wrote. Nothing in the file is executed.

    Raises:
        TrainingError: there is none, or it is not a run's state.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        model = folder / MODEL_FILE
        how = f"; to go on from its weights, use another --out and init={model}" if model.is_file() else ""
        raise TrainingError(f"nothing to resume in {folder}: it has no {STATE_FILE}; start without --resume{how}")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} is not the state of a training run, or is damaged") from error
    if not isinstance(state, dict) or not state.keys() >= STATE_KEYS:
        raise TrainingError(f"{path} is not the state of a training run")
    return state
