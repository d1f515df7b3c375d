"""A photo and a hole in, a photo out: the Python interface to a trained network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import InputError, ModelError
from pconv.filling.backends import open_backend
from pconv.filling.wide import fill_wide
from pconv.models import BUNDLED, DEFAULT_MODEL, find_model
from pconv.photos.grow import grown
from pconv.photos.holes import hole_from_image
from pconv.photos.photo import Photo, from_pil

Picture = TypeVar("Picture", Image.Image, NDArray[np.generic], Photo)
Hole = Image.Image | NDArray[np.generic]

_FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}


class Inpainter:
    """Fills holes in photos with one network, loaded once; see :func:`inpaint` for single calls.

    Args:
        model: "default" for the bundled one, or the path of a checkpoint made by ``pconv train`` (``.safetensors``,
            which needs PyTorch) or of a graph made by ``pconv export`` (``.onnx``).
        device: "auto", "cpu"; with the torch backend also "cuda", "cuda:1", "mps".
        backend: "onnxruntime", "torch", "openvino", or "auto": the fastest that is installed and can do it.
        precision: "fp32", "bf16", or "auto": bf16 where backend and device compute in it.

    Attributes:
        backend: what was chosen, with its ``name``, ``device``, ``precision``, ``path`` and ``recipe``.

    Raises:
        ModelError: no such model, or not a model.
        InputError: no such device, backend or precision here; the message says what to install.

    Calls may come from several threads.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.backend = open_backend(model, str(device), backend, precision)

    def __call__(self, image: Picture, hole: Hole, *, feather: int = 0) -> Picture:
        """Return a copy of ``image`` in which the hole is filled; pixels outside the hole stay bit for bit.

        Args:
            image: a :class:`~pconv.photos.photo.Photo`, a PIL image (any 8-bit mode, or 16-bit grey; alpha is kept as
                it is), or an array ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` (the fourth channel,
                alpha, is kept) of uint8, uint16, or float with values in 0..1. What lies in the hole is never read;
                it may be NaN.
            hole: what to fill, at the image's size: a PIL image (brighter than 50 % grey = fill), or an array
                ``(H, W)`` of bool or numbers (non-zero = fill).
            feather: pixels inside the hole's edge over which the fill blends with what was there.

        Returns:
            The same kind of thing as ``image``: a photo, a PIL image of the same mode, or an array of the same shape
            and dtype.

        Raises:
            InputError: the sizes differ, nothing is known outside the hole, or the kind of image is unknown.
        """
        if isinstance(image, Photo):
            return self._fill_photo(image, as_hole(hole, (image.height, image.width)), feather)
        if isinstance(image, Image.Image):
            marked = as_hole(hole, (image.height, image.width))
            return self._fill_photo(from_pil(image), marked, feather).to_pil()
        if isinstance(image, np.ndarray) and image.ndim in (2, 3):
            return self._fill_array(image, as_hole(hole, image.shape[:2]))
        what = f"an array of shape {image.shape}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise InputError(f"cannot inpaint {what}; give a PIL image or a numpy array (H, W) or (H, W, C)")

    def _fill_photo(self, photo: Photo, hole: NDArray[np.bool_], feather: int) -> Photo:
        result = photo.copy()
        if hole.any():
            everything = slice(None), slice(None)
            known = np.where(hole, 0, photo.read(*everything)).astype(np.float32).transpose(1, 2, 0)
            if self.backend.channels == 1:
                known = known.mean(axis=2, keepdims=True)
            filled = np.broadcast_to(self._predict(known, hole), (*hole.shape, 3)).transpose(2, 0, 1)
            opacity = hole.astype(np.float32)
            for reach in range(1, feather + 1):
                opacity += hole & ~grown(~hole, reach)
            result.write(*everything, filled, opacity / (feather + 1))
        return result

    def _fill_array(self, image: NDArray[np.generic], hole: NDArray[np.bool_]) -> NDArray[np.generic]:
        scale = _FULL_SCALE.get(image.dtype.newbyteorder("="))
        if scale is None and not np.issubdtype(image.dtype, np.floating):
            raise InputError(f"cannot inpaint an array of {image.dtype}; give uint8, uint16, or float in 0..1")
        result = image.copy()
        if not hole.any():
            return result
        colours = result if result.ndim == 3 else result[..., None]
        inputs = self.backend.channels
        if colours.shape[2] == 4 and inputs == 3:
            colours = colours[..., :3]
        if colours.shape[2] not in (1, inputs):
            raise InputError(f"this model fills pictures of {inputs} channels; got an array of shape {image.shape}")
        if scale is None:
            _check_floats(colours, hole)
        known = np.where(hole[..., None], 0, colours).astype(np.float32) / (scale or 1.0)
        filled = self._predict(np.broadcast_to(known, (*hole.shape, inputs)), hole)[hole]
        if colours.shape[2] == 1:
            filled = filled.mean(axis=1, keepdims=True)
        colours[hole] = (filled * scale).round().astype(image.dtype) if scale else filled.astype(image.dtype)
        return result

    def _predict(self, known: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The filled picture for ``(H, W, C)`` float32 in 0..1."""
        filled = fill_wide(self.backend, np.ascontiguousarray(known.transpose(2, 0, 1)), hole)
        if not np.isfinite(filled).all():
            raise ModelError("the model's output is not finite: its training diverged; use another checkpoint")
        return filled.transpose(1, 2, 0)


def inpaint(
    image: Picture, hole: Hole, model: str | Path = DEFAULT_MODEL, device: str = "auto", backend: str = "auto"
) -> Picture:
    """Return a copy of ``image`` in which ``hole`` (white / non-zero) is filled.

    Takes and returns what :meth:`Inpainter.__call__` does. The last models used stay loaded.
    """
    file = find_model(model)
    name = model if str(model) in BUNDLED else file.resolve()
    return _cached_inpainter(name, file.stat().st_mtime_ns, device, backend)(image, hole)


@lru_cache(maxsize=2)
def _cached_inpainter(model: str | Path, _modified: int, device: str, backend: str) -> Inpainter:
    return Inpainter(model, device, backend)


def as_hole(hole: Hole, size: tuple[int, int]) -> NDArray[np.bool_]:
    """``hole`` as a bool array of ``size`` (height, width), True = hole.

    Raises:
        InputError: another size, or everything is hole.
    """
    marked = hole_from_image(hole) if isinstance(hole, Image.Image) else np.asarray(hole) != 0
    if marked.ndim == 3 and marked.shape[2] == 1:
        marked = marked[..., 0]
    if marked.shape != tuple(size):
        got = f"{marked.shape[1]}x{marked.shape[0]}" if marked.ndim == 2 else f"an array of shape {marked.shape}"
        raise InputError(f"the hole map is {got} and the photo {size[1]}x{size[0]} pixels: they must be of one size")
    if marked.all():
        raise InputError("the whole photo is marked as hole, so nothing is known to fill it from (inverted mask?)")
    return marked


def _check_floats(colours: NDArray[np.generic], hole: NDArray[np.bool_]) -> None:
    known = colours[~hole].astype(np.float64)
    if not np.isfinite(known).all():
        raise InputError("the image has NaN or Inf outside the hole; mark those pixels as hole too")
    if known.min() < 0 or known.max() > 1:
        raise InputError(
            f"float images need values in 0..1; got {known.min():g}..{known.max():g} (divide by 255, or give uint8)"
        )
