import signal
import subprocess
import sys

import pytest

RUN = """
import os, signal, sys
from pconv.signals import stop_on_signal
with stop_on_signal("stopping") as stop:
    for number in map(int, sys.argv[1:]):
        os.kill(os.getpid(), number)
    print(stop.is_set(), stop.signal)
os.kill(os.getpid(), signal.SIGTERM)  # handled as before
"""


@pytest.mark.parametrize(
    ("signals", "code", "printed"),
    [
        ([], -signal.SIGTERM, "False None"),
        ([signal.SIGINT], -signal.SIGTERM, "True 2"),
        ([signal.SIGINT, signal.SIGTERM], -signal.SIGTERM, "True 2"),
        ([signal.SIGTERM, signal.SIGTERM], 128 + signal.SIGTERM, ""),
    ],
)
def test_the_first_signal_asks_and_the_same_one_again_ends_the_process(signals, code, printed):
    done = subprocess.run([sys.executable, "-uc", RUN, *(str(int(each)) for each in signals)], capture_output=True)
    assert done.returncode == code
    assert done.stdout.decode().strip() == printed
    assert done.stderr.decode().count("stopping") == bool(signals)
