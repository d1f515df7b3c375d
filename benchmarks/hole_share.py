"""How long a fill of 512 x 512 px takes from Python, by the share of the image that is hole.

    python benchmarks/hole_share.py
    python benchmarks/hole_share.py --backend torch --quick

The bundled model, loaded once; median seconds of `Inpainter`, the shares in turn. Ratios are to 10 %. A JSON line
comes last.
"""

from __future__ import annotations

import click
import numpy as np
from common import finish, interleaved, machine, show

from pconv import Inpainter, irregular_hole

SIDE = 512
SHARES = {
    "0.1 %": None,
    "10 %": (0.09, 0.11),
    "30 %": (0.29, 0.31),
    "60 %": (0.58, 0.60),
}
"""Irregular strokes of `pconv.irregular_hole`; the smallest is one square of 16 px."""


@click.command()
@click.option("--backend", default="onnxruntime", show_default=True)
@click.option("--quick", is_flag=True, help="3 repeats instead of 15.")
def main(backend: str, quick: bool) -> None:
    fill = Inpainter(backend=backend)
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    holes = {}
    for name, ratio in SHARES.items():
        if ratio is None:
            holes[name] = np.zeros((SIDE, SIDE), bool)
            holes[name][248:264, 248:264] = True
        else:
            holes[name] = irregular_hole(SIDE, SIDE, ratio, generator=generator)
    seconds = interleaved(
        {name: lambda hole=hole: fill(photo, hole) for name, hole in holes.items()}, repeats=3 if quick else 15
    )
    table = {
        name: {"seconds": f"{value:.3f}", "ratio": f"{value / seconds['10 %']:.2f}"} for name, value in seconds.items()
    }
    show(table, f"{fill.backend.name} in {fill.backend.precision}, {machine()}")
    finish({"backend": fill.backend.name, "seconds": seconds})


if __name__ == "__main__":
    main()
