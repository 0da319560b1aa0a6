"""HTTP on the wire: what uvicorn answers by itself, before there is a request that the application could see."""

from __future__ import annotations

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from specserve.http.request_id import HEADER, new_request_id
from specserve.spec.errors import InvalidRequest

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with the error envelope, and deaf to offers of another protocol."""

    def data_received(self, data: bytes) -> None:
        """Take what the client sent, without an Upgrade header, which a server may ignore (RFC 9110, section 7.8).

        httptools would skip the body of such a request. Java's client makes the offer (h2c) with every first request.
        """
        in_body = self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete
        if not in_body and b"pgrade" in data:
            head, blank, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"", head) + blank + rest
        super().data_received(data)

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
