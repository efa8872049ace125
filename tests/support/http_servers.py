"""HTTP servers of tests, each with a handler of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class QuietHandler(BaseHTTPRequestHandler):
    """A handler without a log."""

    def log_message(self, format: str, *values: Any) -> None:
        """Write nothing."""


@contextmanager
def serving(server: HTTPServer) -> Iterator[str]:
    """Serve on a thread until the end of the context, and yield the origin."""
    # Its end waits for one interval.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{server.server_address[0]!s}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
