import os
import signal
import subprocess
import sys

import pytest

from pconv.signals import STOP_SIGNALS, signals_blocked, stop_on_signal

RUN = """
import os, signal, sys, time
from pconv.signals import stop_on_signal
with stop_on_signal("stopping") as stop:
    for number in map(float, sys.argv[1:]):
        time.sleep(-number) if number < 0 else os.kill(os.getpid(), int(number))
    print(stop.is_set(), stop.signal)
os.kill(os.getpid(), signal.SIGTERM)  # handled as before
"""


@pytest.mark.parametrize(
    ("signals", "code", "printed"),
    [
        ([], -signal.SIGTERM, "False None"),
        ([signal.SIGINT], -signal.SIGTERM, "True 2"),
        ([signal.SIGINT, signal.SIGTERM], -signal.SIGTERM, "True 2"),
        ([signal.SIGHUP, signal.SIGTERM], -signal.SIGTERM, "True 1"),
        ([signal.SIGTERM, -2.1, signal.SIGTERM], 128 + signal.SIGTERM, ""),
        ([signal.SIGTERM, signal.SIGTERM], -signal.SIGTERM, "True 15"),  # timeout signals the process and its group
    ],
)
def test_the_first_signal_asks_and_the_same_one_later_ends_the_process(signals, code, printed):
    done = subprocess.run([sys.executable, "-uc", RUN, *(str(float(each)) for each in signals)], capture_output=True)
    assert done.returncode == code
    assert done.stdout.decode().strip() == printed
    assert done.stderr.decode().count("stopping") == bool(signals)


def test_nohup_is_respected_and_an_output_that_has_gone_is_no_error():
    """SIGHUP stays ignored; the reader of both outputs has ended, as tee does at Ctrl-C."""
    hangup = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN){RUN}"
    done = subprocess.run([sys.executable, "-uc", hangup, str(int(signal.SIGHUP))], capture_output=True, text=True)
    assert done.stdout.strip() == "False None"
    reader, writer = os.pipe()
    os.close(reader)
    code = RUN.replace("os.kill(os.getpid(), signal.SIGTERM)  # handled as before", "sys.exit(7)")
    call = [sys.executable, "-uc", code, str(int(signal.SIGINT))]
    assert subprocess.run(call, stdout=writer, stderr=writer).returncode == 7
    os.close(writer)


def test_interrupting_ends_the_block_with_the_signals_code():
    with pytest.raises(SystemExit) as ended, stop_on_signal("", interrupt=True):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143


def test_blocked_signals_do_not_reach_processes_that_are_started_meanwhile():
    with signals_blocked(*STOP_SIGNALS):
        child = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"], stdin=-1, stdout=-1)
    with child:
        child.stdout.readline()
        for number in STOP_SIGNALS:
            child.send_signal(number)
        child.communicate(b"end\n", timeout=60)
    assert child.returncode == 0
