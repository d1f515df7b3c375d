"""A plain web server for a folder, with what can go wrong on the way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Web:
    """A served folder.

    Attributes:
        address: of its index.html.
        asked: the paths of all requests so far.
        broken: what to do in place of the file whose name begins so: a status, or other bytes.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[str] = []
        self.broken: dict[str, int | bytes] = {}


@contextmanager
def serving_folder(folder: Path, isolated: bool = False) -> Iterator[Web]:
    """Serve a folder; ``isolated``: with the headers that threads need."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rsplit("/", 1)[-1]
            web.asked.append(self.path)
            broken = next((what for start, what in web.broken.items() if name.startswith(start)), None)
            if broken is None:
                return super().do_GET()
            if isinstance(broken, int):
                return self.send_error(broken)
            self.send_response(200)
            self.send_header("Content-Length", str(len(broken)))
            self.end_headers()
            return self.wfile.write(broken)

        def end_headers(self):
            if isolated:
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    web = Web(f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
