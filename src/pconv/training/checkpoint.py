"""What a run's state holds, and the error where a run's files cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pconv.errors import TrainingError
from pconv.nn.checkpoint import read_state

MODEL_FILE = "model.safetensors"
STATE_FILE = "state.pt"
HOW_TO_GO_ON = "go on with --resume, or start again if nothing was saved"
"""What to do with a run that ended with an error, when its cause is removed."""
STATE_KEYS = {
    "net", "averaged", "begun_from", "optimizers", "texture", "precision", "stage", "step", "skipped", "best",
    "photos", "places", "config",
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
        raise TrainingError(f"cannot write to {folder}: {reason}; when that is removed, {HOW_TO_GO_ON}") from error


def load_state(folder: Path) -> dict[str, Any]:
    """Read the state of the run in ``folder``. Nothing in the file is executed.

    Raises:
        TrainingError: there is none, or it is not a run's state.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        model = folder / MODEL_FILE
        how = f"; to go on from its weights, use another --out and init={model}" if model.is_file() else ""
        raise TrainingError(f"nothing to resume in {folder}: it has no {STATE_FILE}; start without --resume{how}")
    state = read_state(path)
    if not state.keys() >= STATE_KEYS:
        raise TrainingError(f"{path} is not the state of a training run")
    return state
