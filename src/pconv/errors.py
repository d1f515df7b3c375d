"""The errors that pconv raises on purpose; each message is one sentence that says what to do."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """The command that installs what an extra of pconv needs. pconv is not on PyPI, so it names a clone."""
    return f"pip install '.[{extra}]' in a clone of pconv"


class PconvError(Exception):
    """Base class: catch this to catch every error that pconv raises on purpose."""


class InputError(PconvError, ValueError):
    """An argument, image, mask or configuration is not what was expected."""


class ImageFileError(PconvError):
    """A file could not be read as an image, or a result could not be written."""


class ModelError(PconvError):
    """A model name is unknown, or a file is not a pconv checkpoint."""


class DeviceMemoryError(PconvError):
    """A device has too little memory, even for the smallest tile of an image."""


class TrainingError(PconvError):
    """A training run cannot start or cannot go on."""


class EvaluationError(PconvError):
    """An evaluation cannot start, or a method failed on an image."""


class DownloadError(PconvError):
    """A file could not be downloaded, or is not the one that was meant."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is short: Python and CUDA have classes for it, and PyTorch on MPS and the CPU has sentences."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # A loader worker's numpy error comes as a RuntimeError that quotes the class's name.
    says = ("out of memory", "allocate memory", "STATUS_ALLOC_FAILED", "ArrayMemoryError")
    return isinstance(error, RuntimeError) and any(each in str(error) for each in says)
