import logging
from contextlib import ExitStack

import pytest
from harness import Grey, running_server


@pytest.fixture
def serving():
    """Start a server: ``serving(**settings)``."""
    with ExitStack() as stack:
        yield lambda backend=None, **settings: stack.enter_context(running_server(backend or Grey(), **settings))


@pytest.fixture(scope="module")
def grey_server():
    """One server for many harmless requests."""
    with running_server(Grey()) as running:
        yield running


@pytest.fixture
def no_tracebacks(caplog):
    """Nothing may be logged as an error."""
    caplog.set_level(logging.INFO)
    yield
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
