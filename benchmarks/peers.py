"""How long do others take to fill the same photo? Seconds only; `pconv evaluate` says how well.

    python benchmarks/peers.py                     # classical methods
    python benchmarks/peers.py --lama DIR --port DIR  # and networks, with random weights, from checkouts

A crop of a real photo with irregular holes of 10 to 15 %. Medians, interleaved; a JSON line comes last. Needs
pip install 'pconv[bench]'.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from common import finish, interleaved, load_lama, load_port, machine, show
from numpy.typing import NDArray
from PIL import Image

from pconv import Inpainter, irregular_hole
from pconv.inpainting.backends import BACKENDS, installed

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"
RATIO = (0.10, 0.15)

Photo = NDArray[np.uint8]
Hole = NDArray[np.bool_]
Method = Callable[[Photo, Hole], object]


def biharmonic(photo: Photo, hole: Hole) -> object:
    from skimage.restoration import inpaint_biharmonic

    return inpaint_biharmonic(photo, hole, channel_axis=2)


def patchmatch(photo: Photo, hole: Hole) -> object:
    from patchmatch import patch_match

    return patch_match.inpaint(photo, hole[..., None].astype(np.uint8) * 255, patch_size=5)


CLASSICAL: dict[str, Method] = {
    "OpenCV Telea": lambda photo, hole: cv2.inpaint(photo, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA),
    "OpenCV Navier-Stokes": lambda photo, hole: cv2.inpaint(photo, hole.astype(np.uint8), 3, cv2.INPAINT_NS),
    "PatchMatch": patchmatch,
    "biharmonic": biharmonic,
}


def ours() -> dict[str, Method]:
    return {f"pconv, {name}": Inpainter(backend=name) for name in BACKENDS if installed(name)}


def networks(lama: Path | None, port: Path | None) -> dict[str, Method]:
    methods: dict[str, Method] = {}
    if lama:
        generator = load_lama(lama)

        @torch.inference_mode()
        def fill_by_lama(photo: Photo, hole: Hole) -> object:
            picture = torch.tensor(photo).permute(2, 0, 1)[None].float() / 255
            mask = torch.tensor(hole)[None, None].float()
            return generator(torch.cat([picture * (1 - mask), mask], 1))

        methods["LaMa (big-lama's sizes)"] = fill_by_lama
    if port:
        network = load_port(port)

        @torch.inference_mode()
        def fill_by_port(photo: Photo, hole: Hole) -> object:
            picture = torch.tensor(photo).permute(2, 0, 1)[None].float() / 255
            valid = (~torch.tensor(hole))[None, None].float().expand_as(picture)
            return network(picture * valid, valid)

        methods["naoto0804's port"] = fill_by_port
    return methods


def photo_and_hole(size: int) -> tuple[Photo, Hole]:
    photo = np.asarray(Image.open(PHOTO).convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
    return photo, irregular_hole(size, size, RATIO, generator=np.random.default_rng(0))


@click.command()
@click.option("--quick", is_flag=True, help="256 px and one repeat.")
@click.option("--size", type=int, help="512, or 256 with --quick.")
@click.option("--repeats", type=int, help="5, or 1 with --quick.")
@click.option("--lama", type=click.Path(path_type=Path, exists=True), help="A checkout of advimman/lama.")
@click.option("--port", type=click.Path(path_type=Path, exists=True), help="A checkout of naoto0804's port.")
def main(quick: bool, size: int | None, repeats: int | None, lama: Path | None, port: Path | None) -> None:
    logging.getLogger("patchmatch").setLevel(logging.ERROR)
    size, repeats = size or (256 if quick else 512), repeats or (1 if quick else 5)
    photo, hole = photo_and_hole(size)
    methods = {**ours(), **CLASSICAL, **networks(lama, port)}
    seconds = interleaved({n: (lambda m=m: m(photo, hole)) for n, m in methods.items()}, repeats)  # type: ignore[misc]
    show({name: {"seconds": f"{s:.3f}"} for name, s in seconds.items()}, f"{size} x {size}, {machine()}")
    finish({"size": size, "seconds": seconds})


if __name__ == "__main__":
    main()
