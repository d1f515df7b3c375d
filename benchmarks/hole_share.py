"""How long a fill of 512 x 512 px takes from Python, by the share of the image that is hole and by backend.

    python benchmarks/hole_share.py
    python benchmarks/hole_share.py --quick

The bundled model, loaded once; median seconds of `Inpainter` in fp32, all candidates in turn, OpenCV's Telea beside
them. A JSON line comes last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click
import cv2
import numpy as np
from common import finish, interleaved, machine, show

from pconv import Inpainter, irregular_hole
from pconv.inpainting.backends import BACKENDS, installed

SIDE = 512
SHARES = {
    "0.1 %": None,
    "10 %": (0.09, 0.11),
    "30 %": (0.29, 0.31),
    "60 %": (0.58, 0.60),
}
"""Irregular strokes of `pconv.irregular_hole`; the smallest is one square of 16 px."""


@click.command()
@click.option("--quick", is_flag=True, help="3 repeats instead of 15.")
def main(quick: bool) -> None:
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    holes = {}
    for name, ratio in SHARES.items():
        if ratio is None:
            holes[name] = np.zeros((SIDE, SIDE), bool)
            holes[name][248:264, 248:264] = True
        else:
            holes[name] = irregular_hole(SIDE, SIDE, ratio, generator=generator)
    fills: dict[str, Callable[..., object]] = {
        name: Inpainter(backend=name, precision="fp32") for name in BACKENDS if installed(name)
    }
    fills["Telea"] = lambda photo, hole: cv2.inpaint(photo, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    runs = {(share, name): partial(fill, photo, hole) for share, hole in holes.items() for name, fill in fills.items()}
    seconds = interleaved({"|".join(key): run for key, run in runs.items()}, repeats=3 if quick else 15)
    table = {share: {name: f"{seconds[f'{share}|{name}']:.3f} s" for name in fills} for share in holes}
    show(table, f"512 x 512, fp32, {machine()}")
    finish({"seconds": seconds})


if __name__ == "__main__":
    main()
