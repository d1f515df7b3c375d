"""``pconv serve`` with a stand-in for the network, whose fill is one grey per seed and takes no time.

python stub_server.py NOISE [OPTION ...]: NOISE is 1 where the network has noise inputs, else 0. The options are those
of pconv serve.
"""

import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np

from pconv.cli import main


class Stub:
    """A backend that fills holes with (60 + 2 * seed) / 255."""

    name, device, precision, channels, multiple = "stub", "cpu", "fp32", 3, 8
    path = Path("stub.onnx")

    def __init__(self, noise):
        self.noise, self.recipe = noise, {}

    def fill(self, images, holes, *, seed=0, origin=(0, 0), estimate=None, everywhere=False):  # noqa: ARG002
        return np.where(holes, np.float32((60 + 2 * seed) / 255), images)


if __name__ == "__main__":
    noise, *options = sys.argv[1:]
    with patch("pconv.inpainting.inpainter.open_backend", lambda *_: Stub(noise == "1")):
        main(["serve", *options])
