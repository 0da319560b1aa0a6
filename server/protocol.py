"""HTTP on the wire: what uvicorn answers by itself, before there is a request that the application could see."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from specserve.backends.errors import InvalidRequest
from specserve.request_id import HEADER, new_request_id


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with the error envelope."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and close."""
        body = InvalidRequest("The request is not valid HTTP.").to_json()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (HEADER, new_request_id()),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in headers), b"", body]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()
