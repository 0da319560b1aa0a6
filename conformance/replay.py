"""Give an answer again, byte for byte, to a client that is to be watched with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from specserve.conformance.evidence import Answer

# Of the connection that it came over, not of the answer.
_NOT_REPLAYED = frozenset({"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"})


@contextmanager
def replaying(answer: Answer) -> Iterator[str]:
    """A server on loopback that answers everything with one answer; gives its base address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response_only(answer.status or 599)
            for name, value in answer.headers:
                if name not in _NOT_REPLAYED:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection = True

        do_GET = do_POST = reply  # noqa: N815  the names are the library's

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
