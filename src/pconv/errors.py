"""Everything that pconv raises because of what it was given; each message is one sentence a user can act on."""

from __future__ import annotations


class PconvError(Exception):
    """Base class: catch this to catch every error that pconv raises on purpose."""


class InputError(PconvError, ValueError):
    """An argument, photo, hole map or configuration is not what was expected."""


class ImageFileError(PconvError):
    """A file could not be read as an image, or a result could not be written."""


class ModelError(PconvError):
    """A model name is unknown, or a file is not a pconv checkpoint."""


class DeviceMemoryError(PconvError):
    """A device has too little memory, even for the smallest piece of a photo."""


class TrainingError(PconvError):
    """A training run cannot start or cannot go on."""


class EvaluationError(PconvError):
    """An evaluation cannot start, or a method failed at a picture."""


class DownloadError(PconvError):
    """A file could not be downloaded, or is not the one that was meant."""
