"""A photo and a hole in, a photo out: the Python interface to a trained network."""

from __future__ import annotations

import logging
import operator
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import DeviceMemoryError, InputError
from pconv.images.photo import Photo, from_pil
from pconv.inpainting.backends import Backend, open_backend
from pconv.inpainting.pictures import Picture, of_array, of_photo
from pconv.inpainting.tiles import BYTES_PER_PIXEL, fill_holes
from pconv.masks.reader import hole_from_image
from pconv.models import BUNDLED, DEFAULT_MODEL, GRAPH, SEEDS, find_model

Whole = TypeVar("Whole")

if TYPE_CHECKING:
    from torch import Tensor

    Image_ = TypeVar("Image_", Image.Image, NDArray[np.generic], Photo, Tensor)
    Hole = Image.Image | NDArray[np.generic] | Tensor

MAX_MEMORY = 2**30
"""Bytes for the network's part of the work."""

LEAST_PIXELS = 256 * 256
"""What a device must be able to see at once."""

MOST_FEATHER = 1000

_log = logging.getLogger("pconv")


class Inpainter:
    """Fills holes in photos with one network, loaded once; see :func:`inpaint` for single calls.

    Args:
        model: "default" for the bundled one, or the path of a checkpoint made by ``pconv train`` (``.safetensors``,
            which needs PyTorch) or of a graph made by ``pconv export`` (``.onnx``).
        device: "auto", "cpu"; with the torch backend also "cuda", "cuda:1", "mps".
        backend: "onnxruntime", "torch", "openvino", or "auto": the fastest that is installed and can do it.
        precision: "fp32", "bf16", or "auto": bf16 with the torch backend where the device computes in it, else fp32.
        max_memory: bytes that filling may take beside the photo itself; larger photos are filled in pieces.

    Attributes:
        backend: what was chosen, with its ``name``, ``device``, ``precision``, ``path`` and ``recipe``.

    Raises:
        ModelError: no such model, or not a model.
        InputError: no such device, backend or precision here; the message says what to install.

    Calls may come from several threads. Where a GPU's memory does not suffice, smaller pieces are tried, and then the
    CPU; the logger "pconv" says so.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
        max_memory: int = MAX_MEMORY,
    ) -> None:
        if max_memory < LEAST_PIXELS * BYTES_PER_PIXEL:
            least = -(-LEAST_PIXELS * BYTES_PER_PIXEL // 2**20)
            raise InputError(f"filling takes at least {least} MiB of memory; max_memory is {max_memory} bytes")
        self.backend: Backend = open_backend(model, str(device), backend, precision)
        self._model = model
        self._max_memory = self._memory = max_memory

    @overload
    def __call__(self, image: Image_, hole: Hole, *, feather: int = 0, seed: int = 0) -> Image_: ...
    @overload
    def __call__(
        self, image: Sequence[Image_], hole: Hole | Sequence[Hole], *, feather: int = 0, seed: int = 0
    ) -> list[Image_]: ...
    def __call__(self, image: Any, hole: Any, *, feather: int = 0, seed: int = 0) -> Any:
        """Return a copy of ``image`` in which the hole is filled; pixels outside the hole stay bit for bit.

        Args:
            image: one of these, or a list of them:

                * a PIL image of any mode with colours, of 8 bits, 1 bit, or 16-bit grey; alpha is kept as it is;
                * a numpy array ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` (the fourth channel, alpha,
                  is kept) of uint8, uint16, or float with values in 0..1;
                * a torch tensor ``(C, H, W)`` or ``(B, C, H, W)``, C and dtypes as in arrays, on any device;
                * a :class:`pconv.Photo`, as :func:`pconv.read_photo` gives it.

                What lies in the hole is never read, but for ``feather``; it may be NaN.
            hole: what to fill, at the image's size: a PIL image (from 50 % grey = fill), an array ``(H, W)`` or
                ``(H, W, 1)``, or a tensor ``(H, W)``, ``(1, H, W)``, for batches also ``(B, 1, H, W)``, of bool or
                numbers (non-zero = fill). For a list: a list as long, or one for all.
            feather: pixels, 0 to 1000, inside the hole's edge over which the fill is blended with what was there.
            seed: whole number, 0 to 63: another seed gives the same hole another texture, and the same seed the same
                one. Networks without noise inputs ignore it; the logger "pconv" then warns.

        Returns:
            The same kind of thing as ``image``: a PIL image of the same mode, an array or tensor of the same shape and
            dtype, a photo, or a list of them.

        Raises:
            InputError: the sizes differ, nothing is known outside the hole, the kind of image is unknown, or
                ``feather`` or ``seed`` is out of range.
            DeviceMemoryError: no device has the memory for it.
        """
        if not 0 <= feather <= MOST_FEATHER:
            raise InputError(f"feather is {feather} pixels; give 0 to {MOST_FEATHER}")
        seed = usable_seed(self, seed, _log.warning)
        if isinstance(image, (list, tuple)):
            holes = list(hole) if isinstance(hole, (list, tuple)) else [hole] * len(image)
            if len(holes) != len(image):
                raise InputError(f"{len(image)} images and {len(holes)} holes: give one hole for each, or one for all")
            return [self(one, its, feather=feather, seed=seed) for one, its in zip(image, holes, strict=True)]
        if isinstance(image, Photo):
            return self._fill_photo(image, as_hole(hole, (image.height, image.width)), feather, seed)
        if isinstance(image, Image.Image):
            marked = as_hole(hole, (image.height, image.width))
            return self._fill_photo(from_pil(image), marked, feather, seed).to_pil()
        if isinstance(image, np.ndarray) and image.ndim in (2, 3):
            return self._fill_array(image, as_hole(hole, image.shape[:2]), feather, seed)
        if _is_tensor(image) and image.ndim in (3, 4):
            return self._fill_tensor(image, hole, feather, seed)
        shaped = isinstance(image, np.ndarray) or _is_tensor(image)
        what = f"an array of shape {tuple(image.shape)}" if shaped else f"a {type(image).__name__}"
        raise InputError(
            f"cannot inpaint {what}; give a PIL image, a numpy array (H, W) or (H, W, C), a torch tensor (C, H, W) or "
            "(B, C, H, W), or a list of these"
        )

    def _fill_photo(self, photo: Photo, hole: NDArray[np.bool_], feather: int, seed: int) -> Photo:
        unknown = hole
        alpha = photo.alpha
        if alpha is not None:  # what nobody sees has colours that mean nothing
            unknown = hole | (alpha == 0)
            unknown = hole if unknown.all() else unknown
        return self._filled(photo, Photo.copy, of_photo, hole, feather, seed, unknown)

    def _fill_array(self, image: NDArray[Any], hole: NDArray[np.bool_], feather: int, seed: int) -> NDArray[Any]:
        if np.issubdtype(image.dtype, np.floating):
            _check_floats(image, hole, to_blend=feather > 0)
        return self._filled(image, np.ndarray.copy, of_array, hole, feather, seed)

    def _fill_tensor(self, image: Tensor, hole: Any, feather: int, seed: int) -> Tensor:
        import torch

        batch = image.detach().cpu()
        batch = batch if image.ndim == 4 else batch[None]
        holes = _holes_of_batch(hole, len(batch), (batch.shape[2], batch.shape[3]))
        widened = batch.float() if batch.dtype == torch.bfloat16 else batch  # numpy has no bfloat16
        filled = [
            torch.from_numpy(self._fill_array(each.permute(1, 2, 0).numpy(), its, feather, seed)).permute(2, 0, 1)
            for each, its in zip(widened, holes, strict=True)
        ]
        return torch.stack(filled).to(image.dtype).reshape(image.shape).to(image.device)

    def _filled(
        self,
        image: Whole,
        copied: Callable[[Whole], Whole],
        pictured: Callable[[Whole, int], Picture],
        hole: NDArray[np.bool_],
        feather: int,
        seed: int,
        unknown: NDArray[np.bool_] | None = None,
    ) -> Whole:
        """A copy with ``hole`` filled from what is not ``unknown`` (by default the hole).

        Where the device has too little memory, less is asked of it at a time, and at last the CPU is used.
        """
        while True:
            result = copied(image)
            picture = pictured(result, self.backend.channels)
            if not hole.any():
                return result
            backend, memory = self.backend, self._memory
            try:
                all_unknown = hole if unknown is None else unknown
                fill_holes(backend, picture, all_unknown, memory, feather, hole, seed)
            except DeviceMemoryError as error:
                self._make_do(backend, memory, error)
            else:
                return result

    def _make_do(self, backend: Backend, memory: int, error: DeviceMemoryError) -> None:
        """Go on with half the memory, or on the CPU; for all calls from now on."""
        if (backend, memory) != (self.backend, self._memory):
            return  # another thread has seen to it
        if memory // 2 >= LEAST_PIXELS * BYTES_PER_PIXEL:
            self._memory = memory // 2
            _log.warning("%s is out of memory; going on in smaller pieces", backend.device)
        elif backend.device != "cpu":
            _log.warning("%s is out of memory even for small pieces; going on on the CPU", backend.device)
            self.backend, self._memory = open_backend(self._model, "cpu", backend.name), self._max_memory
        else:
            raise error


def inpaint(
    image: Image_,
    hole: Hole,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    backend: str = "auto",
    seed: int = 0,
) -> Image_:
    """Return a copy of ``image`` in which ``hole`` (white / non-zero) is filled.

    Takes and returns what :meth:`Inpainter.__call__` does. The last models used stay loaded.
    """
    file = find_model(model, GRAPH)
    name = model if str(model) in BUNDLED else file.resolve()
    return _cached_inpainter(name, file.stat().st_mtime_ns, device, backend)(image, hole, seed=seed)


@lru_cache(maxsize=2)
def _cached_inpainter(model: str | Path, _modified: int, device: str, backend: str) -> Inpainter:
    return Inpainter(model, device, backend)


def checked_seed(seed: Any) -> int:
    """``seed`` as an int, from an int of any kind.

    Raises:
        InputError: it is no whole number from 0 to 63.
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if isinstance(seed, (bool, np.bool_)) or not 0 <= number < SEEDS:
        raise InputError(f"the seed is {seed!r}; give a whole number from 0 to {SEEDS - 1}")
    return number


def usable_seed(inpainter: Inpainter, seed: int, note: Callable[[str], object]) -> int:
    """``seed``; for a network without noise inputs 0, and ``note`` gets the sentence that says so.

    Raises:
        InputError: it is no whole number from 0 to 63.
    """
    seed = checked_seed(seed)
    if seed and not inpainter.backend.noise:
        note(f"the model has no noise inputs, so seed {seed} gives the same fill as seed 0")
        return 0
    return seed


def as_hole(hole: Hole, size: tuple[int, int]) -> NDArray[np.bool_]:
    """``hole`` as a bool array of ``size`` (height, width), True = hole.

    Raises:
        InputError: another size, or everything is hole.
    """
    hole = _on_cpu(hole)
    marked = hole_from_image(hole) if isinstance(hole, Image.Image) else np.asarray(hole) != 0
    if marked.ndim == 3 and marked.shape[2] == 1:
        marked = marked[..., 0]
    if marked.shape != tuple(size):
        got = f"{marked.shape[1]}x{marked.shape[0]}" if marked.ndim == 2 else f"an array of shape {marked.shape}"
        raise InputError(f"the hole map is {got} and the photo {size[1]}x{size[0]} pixels: they must be of one size")
    if marked.all():
        raise InputError("the whole photo is marked as hole, so nothing is known to fill it from (inverted mask?)")
    return marked


def _holes_of_batch(hole: Any, count: int, size: tuple[int, int]) -> list[NDArray[np.bool_]]:
    """A hole for each picture of a batch, from ``(B, 1, H, W)``, ``(B, H, W)``, or one for all."""
    hole = _on_cpu(hole)
    if isinstance(hole, np.ndarray) and hole.ndim == 4 and hole.shape[1] == 1:
        hole = hole[:, 0]
    if isinstance(hole, np.ndarray) and hole.ndim == 3 and len(hole) in (1, count) and hole.shape[1:] == size:
        return [as_hole(hole[min(number, len(hole) - 1)], size) for number in range(count)]
    return [as_hole(hole, size)] * count


def _on_cpu(hole: Any) -> Any:
    """A tensor's array, True = hole; anything else as it is."""
    return hole.detach().cpu().bool().numpy() if _is_tensor(hole) else hole


def _is_tensor(thing: object) -> bool:
    """Whether it is a torch tensor; nobody who has one needs PyTorch to be imported here."""
    return "torch" in sys.modules and isinstance(thing, sys.modules["torch"].Tensor)


def _check_floats(image: NDArray[Any], hole: NDArray[np.bool_], to_blend: bool) -> None:
    known = image if to_blend else image[~hole]
    with np.errstate(invalid="ignore"):
        least, most = known.min(), known.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        if to_blend:
            raise InputError("the image has NaN or Inf, and feather blends with what is there; use feather=0")
        raise InputError("the image has NaN or Inf outside the hole; mark those pixels as hole too")
    if least < 0 or most > 1:
        raise InputError(f"float images need values in 0..1; got {least:g}..{most:g} (divide by 255, or give uint8)")
