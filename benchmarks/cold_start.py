"""How long does a person wait for one photo? The whole process, from the shell, again and again.

    python benchmarks/cold_start.py                      # the pconv of this environment
    python benchmarks/cold_start.py --pconv DIR/bin/pconv  # another's, such as one with the wheel alone

A 512 x 512 JPEG with scratches to a PNG. Median wall time and peak memory; a JSON line comes last.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"


def measure(command: list[str], repeats: int) -> tuple[float, float]:
    """Median seconds and the highest MB of resident memory."""
    seconds, peak = [], 0.0
    for _ in range(repeats + 1):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds.append(time.perf_counter() - start)
        peak = max(peak, usage.ru_maxrss / 1024)
        if status:
            raise SystemExit(f"failed: {' '.join(command)}")
    return statistics.median(seconds[1:]), peak


@click.command()
@click.option("--pconv", default=str(Path(sys.executable).parent / "pconv"), help="The command to measure.")
@click.option("--quick", is_flag=True, help="3 repeats instead of 11.")
def main(pconv: str, quick: bool) -> None:
    repeats = 3 if quick else 11
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        fill = [pconv, "inpaint", str(PHOTOS / "astronaut.jpg"), str(PHOTOS / "astronaut-mask.png")]
        for name, command in {
            "pconv --help": [pconv, "--help"],
            "pconv inpaint": [*fill, "-o", f"{folder}/out.png"],
        }.items():
            seconds, megabytes = measure(command, repeats)
            result[name] = {"seconds": round(seconds, 3), "peak_mb": round(megabytes)}
            print(f"{name:<20}{seconds:>8.2f} s{megabytes:>8.0f} MB")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
