"""The head of a request: its request line and header fields, read strictly (RFC 9112).

Whatever two readers could understand in two ways is refused, not repaired: that is what request smuggling lives on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from specserve.spec.errors import APIError, HeadersTooLarge, InvalidRequest, RequestTooLarge, TargetTooLong

Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(%b{1,32}) ([\x21-\x7e]+) HTTP/1\.([01])" % _TOKEN)
# Possessive quantifiers: a line that does not match is given up at once, however long it is.
_FIELD = re.compile(rb"\r\n(%b++):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)(?=\r\n)" % _TOKEN)
_ILLEGAL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
_HOST = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE)
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"})
_MOST_DIGITS = 18  # of a Content-Length: more bytes than any disk holds


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """What a head may be.

    Attributes:
        head: Most bytes of request line and headers together, with the empty line that ends them.
        target: Most bytes of the request line.
        fields: Most header lines.
    """

    head: int = 65536
    target: int = 8192
    fields: int = 100


class Head:
    """One request as its head announces it.

    Attributes:
        method: As it came; methods are case-sensitive.
        path: Without percent-encoding.
        raw_path: As it came, without the query.
        query: What stands after the first ``?``.
        version: ``"1.0"`` or ``"1.1"``.
        headers: In order; names in lower case.
        length: Bytes of the body, or None if it is sent in chunks.
        keep_alive: Whether the client is ready to use the connection again.
        expects_continue: Whether the client waits for a 100 before it sends the body.
    """

    __slots__ = (
        "expects_continue",
        "headers",
        "keep_alive",
        "length",
        "method",
        "path",
        "query",
        "raw_path",
        "version",
    )

    def __init__(self, method: str, version: str, headers: Headers) -> None:
        self.method = method
        self.version = version
        self.headers = headers
        self.keep_alive = version == "1.1"
        self.length: int | None = 0
        self.expects_continue = False
        self.path = ""
        self.raw_path = self.query = b""


def parse_head(data: bytes, limits: HeadLimits) -> Head:
    """Read a head.

    Args:
        data: All of it, with the empty line that ends it.
        limits: What it may be.

    Raises:
        APIError: It is no head of HTTP/1.0 or 1.1, or over a limit.
    """
    line_end = data.index(b"\r\n")
    found = _REQUEST_LINE.fullmatch(data, 0, line_end)
    if found is None or line_end + 2 > limits.target:
        raise fault_in(data, limits) or InvalidRequest("The request line is not valid HTTP/1.1.")
    fields = _FIELD.findall(data, line_end)
    if len(fields) != data.count(b"\r\n") - 2:  # beside the fields' own: the empty line's and the request line's
        raise fault_in(data, limits) or InvalidRequest("A header line of the request is not valid HTTP.")
    if len(fields) > limits.fields:
        raise HeadersTooLarge(f"The request has more than {limits.fields} header lines.")
    method, target, minor = found.groups()
    headers = [(name.lower(), value.rstrip(b" \t")) for name, value in fields]
    head = Head(method.decode(), "1.1" if minor == b"1" else "1.0", headers)
    _read_framing(head)
    _read_target(head, target)
    return head


def fault_in(data: bytes, limits: HeadLimits, sound: int = 0) -> APIError | None:
    """The first fault in the beginning of a head, whether or not the rest has come; None if there is none so far.

    The first by its place in the data, so that it makes no difference in which pieces they came.

    Args:
        data: What has come.
        limits: What a head may be.
        sound: Bytes that were looked at before, and were in order.
    """
    illegal = _ILLEGAL.search(data, max(0, sound - 1), limits.head)
    line_end = data.find(b"\r\n", 0, limits.target)
    if illegal is not None and (line_end >= 0 or illegal.start() < limits.target):
        return InvalidRequest("The request holds a byte that HTTP does not allow there.")
    if line_end < 0 and len(data) >= limits.target:
        return TargetTooLong(f"The request line is longer than {limits.target} bytes.")
    if len(data) >= limits.head:
        return HeadersTooLarge(f"The request's headers are larger than {limits.head} bytes.")
    return None


def parse_trailers(data: bytes, limits: HeadLimits) -> None:
    """Check the fields behind a body in chunks. They are dropped: none of them means anything here.

    Args:
        data: All of them, with the empty line that ends them.
        limits: What a head may be.

    Raises:
        APIError: They are not valid, or too many.
    """
    count = len(_FIELD.findall(b"\r\n" + data))
    if count != data.count(b"\r\n") - 1:
        raise InvalidRequest("A trailer line of the request is not valid HTTP.")
    if count > limits.fields:
        raise HeadersTooLarge(f"The request has more than {limits.fields} trailer lines.")


def _read_framing(head: Head) -> None:
    """Find out how long the body is and what becomes of the connection."""
    hosts = 0
    length: bytes | None = None
    coding: bytes | None = None
    for name, value in head.headers:
        if name not in _FRAMING:
            continue
        if name == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                raise InvalidRequest("The Host header is not valid.")
        elif name == b"connection":
            if b"close" in {token.strip() for token in value.lower().split(b",")}:
                head.keep_alive = False
        elif name == b"expect":
            head.expects_continue = value.lower() == b"100-continue" and head.version == "1.1"
        elif name == b"content-length":
            if length is not None:
                raise InvalidRequest("The request has more than one Content-Length.")
            length = value
        elif coding is not None:
            raise InvalidRequest("The request has more than one Transfer-Encoding.")
        else:
            coding = value
    if hosts > 1 or (not hosts and head.version == "1.1"):
        raise InvalidRequest("The request must have exactly one Host header.")
    if coding is not None:
        if length is not None or head.version == "1.0" or coding.lower() != b"chunked":
            raise InvalidRequest(
                "The Transfer-Encoding can only be 'chunked', in HTTP/1.1 and without a Content-Length."
            )
        head.length = None
    elif length is not None:
        if not length.isdigit():
            raise InvalidRequest("The Content-Length is not a number.")
        if len(length) > _MOST_DIGITS:
            raise RequestTooLarge("The request body is larger than the server reads.")
        head.length = int(length)


def _read_target(head: Head, target: bytes) -> None:
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is not None and _HOST.fullmatch(absolute[1]):
            # RFC 9112, section 3.2.2: the target's authority replaces what the Host header says.
            head.headers = [(b"host", absolute[1]), *(field for field in head.headers if field[0] != b"host")]
            target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
        elif target != b"*":
            raise InvalidRequest("The request target must be a path or an http URL.")
    if b"#" in target:
        raise InvalidRequest("The request target must not hold a fragment.")
    head.raw_path, _, head.query = target.partition(b"?")
    path = head.raw_path.decode("ascii")
    head.path = unquote(path) if "%" in path else path
