import os

# One thread in each process: the tensors are tiny, and "make test" already runs one process on each core.
# PyTorch reads this when it is imported; pconv's ONNX Runtime and child processes follow it too.
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("pconv", deadline=None)  # a loaded machine makes any deadline fail
hypothesis.settings.load_profile("pconv")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
