"""What detail, and texture behind it, cost: fills with them against the network alone, on the CPU.

    python benchmarks/detail.py
    python benchmarks/detail.py --quick

The bundled model on the fastest backend; examples/photos/astronaut.jpg, also enlarged. Ratios are of medians,
interleaved in one process. A JSON line comes last.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import numpy as np
from common import finish, interleaved, machine, show
from numpy.typing import NDArray
from PIL import Image

from pconv import Inpainter, irregular_hole

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"


def holes(side: int) -> dict[str, NDArray[np.bool_]]:
    y, x = np.mgrid[:side, :side]
    found = {"a scratch of 5 px": np.abs(y - x) < 3, "a disc of 96 px": np.hypot(y - side / 2, x - side / 2) < 48}
    for least in (0.1, 0.4):
        hole = irregular_hole(512, 512, (least, least + 0.1), generator=np.random.default_rng(3))
        found[f"strokes, {100 * hole.mean():.0f} %"] = np.kron(hole, np.ones((side // 512, side // 512), bool))
    return found


@click.command()
@click.option("--repeats", default=5, show_default=True)
@click.option("--quick", is_flag=True, help="512 px only.")
def main(repeats: int, quick: bool) -> None:
    """See the top of the file."""
    fills = {
        "network alone": Inpainter(device="cpu", detail=False, texture=False),
        "with detail": Inpainter(device="cpu", texture=False),
        "and texture": Inpainter(device="cpu"),
    }
    print(f"{machine()}, {fills['and texture'].backend.name}\n")
    rows: dict[str, dict[str, str]] = {}
    ratios: dict[str, float] = {}
    for side in (512,) if quick else (512, 1024):
        photo = np.asarray(Image.open(PHOTO).convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
        for name, hole in holes(side).items():
            seconds = interleaved({kind: partial(fill, photo, hole) for kind, fill in fills.items()}, repeats)
            head = f"{side} px: {name}"
            ratios[head] = seconds["and texture"] / seconds["network alone"]
            rows[head] = {**{kind: f"{s:.2f} s" for kind, s in seconds.items()}, "ratio": f"{ratios[head]:.1f}"}
    show(rows, "One fill")
    finish({"ratios": ratios})


if __name__ == "__main__":
    main()
