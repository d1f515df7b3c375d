"""Other ways to fill a hole, each a function of a photo ``(H, W, 3)`` uint8 and a hole ``(H, W)`` bool, True = hole.

They return ``(H, W, 3)`` uint8. Known pixels may be changed in it: the caller keeps the photo's own.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pconv.errors import EvaluationError, ImageFileError
from pconv.images.reading import read_photo

Pixels = NDArray[np.uint8]
Hole = NDArray[np.bool_]
Fill = Callable[[Pixels, Hole], Pixels]

OPENCV_RADIUS = 3
"""Radius in px of the neighbourhood that Telea and Navier-Stokes look at, as in OpenCV's tutorial."""
PATCH_SIZE = 5

PLACEHOLDERS = ("{image}", "{mask}", "{out}")
_QUOTED = 400


def mean_colour(photo: Pixels, hole: Hole) -> Pixels:
    """The mean of the known pixels in the whole hole, which any method should improve on."""
    return np.where(hole[..., None], photo[~hole].mean(axis=0).round().astype(np.uint8), photo)


def telea(photo: Pixels, hole: Hole) -> Pixels:
    """Telea 2004, fast marching, by OpenCV."""
    import cv2

    return _opencv(photo, hole, cv2.INPAINT_TELEA)


def navier_stokes(photo: Pixels, hole: Hole) -> Pixels:
    """Bertalmio et al. 2001, by OpenCV."""
    import cv2

    return _opencv(photo, hole, cv2.INPAINT_NS)


def _opencv(photo: Pixels, hole: Hole, flag: int) -> Pixels:
    import cv2

    return np.asarray(cv2.inpaint(photo, hole.astype(np.uint8), OPENCV_RADIUS, flag), dtype=np.uint8)


def biharmonic(photo: Pixels, hole: Hole) -> Pixels:
    """Biharmonic equations (Damelin and Hoang 2018), by scikit-image."""
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(photo, hole, channel_axis=2)
    pixels: Pixels = (filled * 255).round().clip(0, 255).astype(np.uint8)
    return pixels


def frequency_selective(photo: Pixels, hole: Hole) -> Pixels:
    """Frequency selective reconstruction (Seiler et al. 2015), the fast variant, by OpenCV's contrib modules."""
    import cv2

    known = (~hole).astype(np.uint8) * 255  # non-zero = valid here, other than in cv2.inpaint
    filled = np.zeros_like(photo)
    xphoto: Any = cv2.xphoto
    xphoto.inpaint(np.ascontiguousarray(photo[..., ::-1]), known, filled, xphoto.INPAINT_FSR_FAST)
    return filled[..., ::-1]


def patchmatch(photo: Pixels, hole: Hole) -> Pixels:
    """PatchMatch (Barnes et al. 2009) with patches of 5 px, by PyPatchMatch."""
    from patchmatch import patch_match

    patch_match.set_random_seed(0)
    filled = patch_match.inpaint(photo, hole[..., None].astype(np.uint8) * 255, patch_size=PATCH_SIZE)
    return np.asarray(filled, dtype=np.uint8)


def network(model: str | Path) -> Fill:
    """Our network, by its name or from a file, on the CPU."""
    from pconv.inpainting.inpainter import Inpainter

    inpainter = Inpainter(model, "cpu")

    def fill(photo: Pixels, hole: Hole) -> Pixels:
        return np.asarray(inpainter(photo, hole), dtype=np.uint8)

    return fill


def plain_network(model: Path) -> Fill:
    """The network with plain convolutions, from a checkpoint, on the CPU."""
    import torch

    from pconv.nn.plain import load_plain

    net = load_plain(model)

    def fill(photo: Pixels, hole: Hole) -> Pixels:
        image = torch.tensor(photo).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            output = net(image, torch.tensor(~hole)[None, None])[0]
        pixels: Pixels = (output.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        return pixels

    return fill


def command(template: str, limit: float) -> Fill:
    """Any program: {image}, {mask} and {out} in ``template`` are replaced by PNG files' paths.

    The mask is white = hole. No shell is started; the program is ended, with its children, after ``limit`` seconds.

    Raises:
        EvaluationError: (when called) the program fails, or writes no image of the photo's size.
    """

    def fill(photo: Pixels, hole: Hole) -> Pixels:
        with tempfile.TemporaryDirectory(prefix="pconv-") as folder:
            paths = {name: str(Path(folder) / f"{name.strip('{}')}.png") for name in PLACEHOLDERS}
            Image.fromarray(photo).save(paths["{image}"])
            Image.fromarray(hole.astype(np.uint8) * 255).save(paths["{mask}"])
            words = shlex.split(template)
            for name, path in paths.items():
                words = [word.replace(name, path) for word in words]
            _run(words, limit)
            return _result(Path(paths["{out}"]), photo.shape)

    return fill


def _run(words: list[str], limit: float) -> None:
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise EvaluationError(f"cannot start {words[0]}: {error.strerror}") from error
    try:
        printed, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise TimeoutError(f"not done after {limit:g} s") from error
    if process.returncode:
        tail = printed.decode(errors="replace").strip()[-_QUOTED:]
        raise EvaluationError(f"{words[0]} ended with exit code {process.returncode}: {tail or 'it said nothing'}")


def _result(path: Path, shape: tuple[int, ...]) -> Pixels:
    if not path.is_file():
        raise EvaluationError("it ended well, and wrote no {out}")
    try:
        pixels = read_photo(path, "{out}").rgb()
    except ImageFileError as error:
        raise EvaluationError(f"what it wrote to {{out}} is no image: {error}") from error
    if pixels.shape != shape:
        raise EvaluationError(f"it wrote {pixels.shape[1]}x{pixels.shape[0]} px for a photo of {shape[1]}x{shape[0]}")
    return pixels
