import itertools
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from pconv.nn.checkpoint import save_network
from pconv.nn.unet import PRESETS, PConvUNet

TOOL = """
import sys, time, pathlib
from PIL import Image
image, mask, out, how = sys.argv[1:]
if how == "hang":
    time.sleep(60)
photo = Image.open(image)
if how == "fail":
    sys.exit("no licence found")
if how == "slow":
    time.sleep(0.25)
if how == "some" and photo.getpixel((0, 0))[2] > 127:
    sys.exit("this photo is too blue")
if how == "small":
    photo = photo.resize((10, 10))
if how == "text":
    pathlib.Path(out).write_text("not a picture")
elif how != "nothing":
    photo.paste((7, 8, 9), mask=Image.open(mask))
    photo.save(out)
"""


@pytest.fixture
def photos(tmp_path):
    """Four smooth photos of 80 x 72, whose corner tells them apart."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((80, 72), Image.Resampling.BICUBIC)
        for x, y in itertools.product((0, 1, 8, 9), (0, 4)):  # where crops to 80 x 64 and 64 x 64 begin
            picture.putpixel((x, y), (255 * (number % 2), 0, 255 * (number // 2)))
        picture.save(folder / f"photo-{number}.png")
    return folder


@pytest.fixture
def tool(tmp_path):
    """A command that fills with one colour; tool("fail") and such misbehave."""
    path = tmp_path / "tool.py"
    path.write_text(TOOL)
    return lambda how="fill": f"cmd:{sys.executable} {path} {{image}} {{mask}} {{out}} {how}"


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save_network(PConvUNet(PRESETS["tiny"]), path, {})
    return path
