"""Connections that are slow, broken, or used in unusual ways."""

import contextlib
import json
import socket
import time

import pytest
from harness import block, encoded, noise
from test_hostile import END, part, read_answer, request

GOOD = request(part("image", encoded(noise())) + part("mask", encoded(block())) + END)


@pytest.fixture
def hurried(monkeypatch):
    """A server that waits for half a second where it would wait for ten."""
    monkeypatch.setattr("pconv.server.config.GRACE_SECONDS", 0.5)
    monkeypatch.setattr("pconv.server.uvicorn_server.CHECK_SECONDS", 0.1)


def is_closed(connection, seconds):
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.usefixtures("hurried", "no_tracebacks")
class TestSlow:
    def test_a_connection_that_says_nothing_is_closed(self, serving):
        server = serving()
        with server.connect() as connection:
            assert is_closed(connection, 3)

    @pytest.mark.parametrize("start", [b"G", b"POST /api/v1/inpaint HTTP/1.1\r\nHost: localhost\r\nX: "])
    def test_a_header_that_comes_a_letter_at_a_time(self, serving, start):
        server = serving()
        with server.connect() as connection:
            connection.sendall(start)
            begin = time.monotonic()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(40):
                    connection.sendall(b"a")
                    time.sleep(0.05)
                    if time.monotonic() - begin > 1:
                        break
            status, _, body = read_answer(connection)
            assert (status, json.loads(body)["error"]["code"]) == (408, "too_slow")
            assert is_closed(connection, 3)

    def test_a_body_that_comes_a_letter_at_a_time(self, serving):
        server = serving()
        with server.connect() as connection:
            connection.sendall(GOOD[:600])
            for _ in range(8):
                connection.sendall(GOOD[600:601])
                time.sleep(0.05)
            status, _, body = read_answer(connection)
            assert (status, json.loads(body)["error"]["code"]) == (408, "too_slow")
            assert is_closed(connection, 3)
        assert server.service._bytes.used == 0

    def test_a_body_that_is_slow_but_fast_enough(self, serving, monkeypatch):
        monkeypatch.setattr("pconv.server.config.MIN_BYTES_PER_SECOND", 1000)
        with serving().connect() as connection:
            for at in range(0, len(GOOD), 500):
                connection.sendall(GOOD[at : at + 500])
                time.sleep(0.15)
            assert read_answer(connection)[0] == 200

    def test_the_rest_of_a_refused_body_is_not_awaited_for_ever(self, serving):
        server = serving(max_bytes=50_000_000)
        with server.connect() as connection:
            connection.sendall(request(b"", "Content-Length: 40000000", kind="Content-Type: x/y", length=False))
            assert read_answer(connection)[0] == 415
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(30):
                    connection.sendall(bytes(1000))
                    time.sleep(0.05)
            assert is_closed(connection, 3)

    def test_an_answer_that_nobody_takes(self, serving):
        """12 MB wait in the server for a client that reads nothing."""
        server = serving()
        photo = encoded(noise(2000, 2000))
        with server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request(part("image", photo) + part("mask", encoded(block(2000, 2000))) + END))
            server.until(lambda: server.service.metrics.registry.get_sample_value("pconv_pixels_total") or 0, 10)
            server.until(lambda: server.connections == 1)
            server.until(lambda: server.connections == 0, 10)
        assert server.service._bytes.used == 0
        assert server.post().status_code == 200

    def test_keep_alive_ends(self, serving):
        server = serving()
        with server.connect() as connection:
            connection.sendall(request(b"", target="/healthz", method="GET", kind=""))
            assert read_answer(connection)[0] == 200
            assert is_closed(connection, 3)

    def test_but_not_for_one_that_keeps_asking(self, serving):
        with serving().connect() as connection:
            for _ in range(8):
                connection.sendall(request(b"", target="/healthz", method="GET", kind=""))
                assert read_answer(connection)[0] == 200
                time.sleep(0.15)


@pytest.mark.usefixtures("no_tracebacks")
class TestUnusual:
    def test_a_connection_goes_on_after_a_refusal(self, grey_server):
        with grey_server.connect() as connection:
            for data, status in ((request(b"hello", kind="Content-Type: x/y"), 415), (GOOD, 200), (GOOD, 200)):
                connection.sendall(data)
                assert read_answer(connection)[0] == status

    def test_two_requests_at_once(self, grey_server):
        with grey_server.connect() as connection:
            connection.sendall(GOOD + GOOD)
            got = b""
            while got.count(b"HTTP/1.1 200 OK") < 2:
                more = connection.recv(65536)
                assert more, "the connection ended"
                got += more

    def test_one_that_sends_before_it_listens_hears_why_it_was_refused(self, grey_server):
        """Also with Connection: close, after which unread bytes would reset the connection."""
        with grey_server.connect() as connection:
            connection.sendall(request(bytes(300_000), "Connection: close", kind="Content-Type: x/y"))
            time.sleep(0.2)
            assert read_answer(connection)[0] == 415
            assert is_closed(connection, 3)

    def test_expect_100_continue(self, grey_server):
        head, _, body = GOOD.partition(b"\r\n\r\n")
        with grey_server.connect() as connection:
            connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
            connection.sendall(body)
            assert read_answer(connection)[0] == 200

    def test_what_is_too_long_is_refused_before_it_is_sent(self, grey_server):
        with grey_server.connect() as connection:
            connection.sendall(request(b"", "Content-Length: 999999999", "Expect: 100-continue", length=False))
            assert read_answer(connection)[0] == 413

    def test_http_1_0(self, grey_server):
        with grey_server.connect() as connection:
            connection.sendall(GOOD.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
            assert read_answer(connection)[0] == 200
            assert is_closed(connection, 3)

    def test_http_1_0_without_a_host(self, grey_server):
        with grey_server.connect() as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert read_answer(connection)[0] == 421

    def test_gone_in_the_middle_of_a_body(self, grey_server):
        with grey_server.connect() as connection:
            connection.sendall(GOOD[:700])
        grey_server.until(lambda: grey_server.service._bytes.used == 0)
        assert grey_server.post().status_code == 200

    def test_more_connections_than_there_may_be(self, serving, monkeypatch):
        monkeypatch.setattr("pconv.server.uvicorn_server.MAX_CONNECTIONS", 5)
        server = serving()
        connections = [server.connect() for _ in range(5)]
        with server.connect() as one_more:
            assert is_closed(one_more, 3)
        for connection in connections:
            connection.close()
        server.until(lambda: server.connections == 0)
        assert server.post().status_code == 200
