"""Send one request and write down all that comes back, in bounded time and memory, whatever the server does."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from specserve.conformance import bounds
from specserve.conformance.bounds import Decoder, Meter, TooMuch
from specserve.conformance.evidence import Answer, Broken, Sent, TimedEvent
from specserve.conformance.sse import Parser

TRIED_AGAIN = frozenset({429, 502, 503, 504})
_MOST_ATTEMPTS = 3
_LONGEST_WAIT = 20.0
_MOST_WAITED = 300.0
"""Seconds that a run waits between attempts, all together."""

_PATIENCE = 3
"""Requests in a row that may fail although they were tried again; those that follow are sent once."""


class Wire:
    """Sends requests to one server, one after the other, over kept connections.

    Args:
        timeout: Seconds that one exchange may take, whatever trickles in meanwhile.
        sleep: Waits before another attempt.
    """

    def __init__(self, timeout: float, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._timeout = timeout
        self._sleep = sleep
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(10.0, timeout)),
            follow_redirects=False,
            headers={"user-agent": "specserve-conformance"},
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=1),
        )
        self._kept: Any = None  # the socket of the connection that the next request may find open
        self._meter = Meter()
        self._room = bounds.MOST_KEPT
        self._fruitless = 0
        self._waited = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(self, sent: Sent, *, abandon: bool = False, deadline: float | None = None) -> Answer:
        """Send a request; try again only what says nothing about the server: limits and infrastructure errors.

        Args:
            sent: The request.
            abandon: Close the connection after the first event.
            deadline: The moment (monotonic) after which nothing may be waited for.
        """
        attempt = 0
        while True:
            attempt += 1
            answer, fresh = self._once(sent, abandon=abandon, deadline=deadline)
            if answer.broken is Broken.CUT and answer.status == 0 and not fresh:
                # A server may close a kept connection when it likes (RFC 9112, 9.5): that does not answer this request.
                answer, _ = self._once(sent, abandon=abandon, deadline=deadline)
            answer.attempts = attempt
            if answer.status not in TRIED_AGAIN:
                self._fruitless = 0
                return answer
            wait = _retry_after(answer, default=0.5 * 2**attempt)
            late = deadline is not None and time.monotonic() + wait > deadline
            tired = self._fruitless >= _PATIENCE or self._waited + wait > _MOST_WAITED
            if attempt == _MOST_ATTEMPTS or wait > _LONGEST_WAIT or late or tired:
                self._fruitless += 1
                return answer
            self._waited += wait
            self._sleep(wait)

    def _once(self, sent: Sent, *, abandon: bool, deadline: float | None) -> tuple[Answer, bool]:
        """One attempt, and whether it opened a connection of its own."""
        answer = Answer(sent)
        started = time.monotonic()
        seconds = self._timeout if deadline is None else max(0.1, min(self._timeout, deadline - started))
        self._meter = Meter()
        watch = _Watch(self._kept, self._count)
        try:
            with _hard_stop(seconds, watch):
                request = self._client.build_request(
                    sent.method,
                    sent.url,
                    headers=list(sent.headers),
                    content=sent.body or None,
                    extensions={"trace": watch.trace},
                )
                self._read(request, answer, started, seconds, abandon=abandon)
        except TooMuch as error:
            _too_large(answer, error)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            _break(answer, Broken.CONNECT, error)
        except httpx.TimeoutException as error:
            _break(answer, Broken.TIMEOUT, error)
        except httpx.RemoteProtocolError as error:
            # h11 tells a cut body and malformed bytes with one class; the first is about the end of the message.
            cut = answer.status != 0 or "disconnected" in str(error)
            _break(answer, Broken.CUT if cut else Broken.PROTOCOL, error)
        except (httpx.NetworkError, OSError) as error:
            _break(answer, Broken.CUT, error)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, zlib.error) as error:
            _break(answer, Broken.PROTOCOL, error)
        self._check_json(answer)
        answer.seconds = time.monotonic() - started
        if answer.broken in {Broken.CUT, Broken.PROTOCOL} and answer.seconds >= seconds:
            answer.broken = Broken.TIMEOUT  # the hard stop shuts the socket, which looks like a cut
        self._kept = watch.socket
        if len(answer.body) > bounds.SMALL:
            self._room -= len(answer.body)
        return answer, watch.fresh

    def _count(self, data: bytes) -> bytes:
        """Count bytes for the exchange that runs, which may not be the one that opened the connection."""
        return self._meter.take(data)

    @staticmethod
    def _check_json(answer: Answer) -> None:
        """Bound what parsing the answer makes, also of one that was cut: a check may look at what came."""
        try:
            if answer.is_stream:
                bounds.check_json(timed.event.data.encode() for timed in answer.events)
            else:
                bounds.check_json([answer.body])
        except TooMuch as error:
            _too_large(answer, error)

    def _read(self, request: httpx.Request, answer: Answer, started: float, seconds: float, *, abandon: bool) -> None:
        response = self._client.send(request, stream=True)
        largest = max(bounds.SMALL, min(bounds.LARGEST, self._room))
        body, parser, decoder = bytearray(), Parser(), Decoder(response.headers.get("content-encoding", ""))
        try:
            self._meter.head_is_complete(largest)
            answer.status = response.status_code
            headers = response.headers.multi_items()
            answer.headers = tuple((name.lower(), value) for name, value in headers[: bounds.MOST_HEADERS])
            answer.first_byte = time.monotonic() - started
            most_events = bounds.MOST_EVENTS if answer.sent.stream else bounds.MOST_UNASKED_EVENTS
            _bound(len(headers), bounds.MOST_HEADERS, "header fields")
            for raw in response.iter_raw():
                now = time.monotonic() - started
                piece = decoder.feed(raw, largest - len(body))
                body += piece
                _bound(len(body), largest, "bytes")
                if answer.is_stream:
                    for event in parser.feed(piece):
                        answer.events.append(TimedEvent(event, now))
                        _bound(len(answer.events), most_events, "events")
                if abandon and answer.events:
                    answer.abandoned = True
                    return
                if now > seconds:
                    _break(answer, Broken.TIMEOUT, f"still sending after {seconds:g} s")
                    return
            if answer.is_stream:
                answer.unfinished_event = parser.pending
                answer.events += [TimedEvent(event, time.monotonic() - started) for event in parser.close()]
        finally:
            answer.body = bytes(body)
            answer.invalid_utf8 = parser.invalid_utf8
            response.close()


def _bound(count: int, most: int, of: str) -> None:
    if count > most:
        msg = f"more than {most} {of}"
        raise TooMuch(msg)


def _too_large(answer: Answer, error: TooMuch) -> None:
    """Give an answer up, and keep only its beginning: it is not judged any more."""
    _break(answer, Broken.TOO_LARGE, error)
    answer.body = answer.body[: bounds.EVIDENCE]
    kept, room = [], bounds.EVIDENCE
    for timed in answer.events:
        room -= len(timed.event.data) + 64
        if room < 0:
            break
        kept.append(timed)
    answer.events = kept


def _break(answer: Answer, broken: Broken, why: object) -> None:
    answer.broken = broken
    answer.detail = str(why)[:300]


def _retry_after(answer: Answer, default: float) -> float:
    try:
        return max(0.0, float(answer.header("retry-after") or default))
    except ValueError:
        return default  # a date; not worth a calendar


class _Watch:
    """Learns the socket of an exchange from httpx's trace, so that it can be shut from outside.

    Args:
        kept: The socket of the exchange before, which is this one's as well unless a connection is opened.
        meter: Takes all bytes that a new connection brings, and returns them.
    """

    def __init__(self, kept: Any, meter: Callable[[bytes], bytes]) -> None:
        self.socket = kept
        self._meter = meter
        self.fresh = False

    def trace(self, name: str, info: dict[str, Any]) -> None:
        if name in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            stream = info["return_value"]
            self.socket = stream.get_extra_info("socket")
            self.fresh = True
            # Interim answers (1xx) are read and dropped within httpcore, without an end if the server sends no end.
            read = stream.read
            stream.read = lambda *arguments, **named: self._meter(read(*arguments, **named))

    def shut(self) -> None:
        try:
            if self.socket is not None:
                self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was closed in the same moment


@contextmanager
def _hard_stop(seconds: float, watch: _Watch) -> Iterator[None]:
    """A server that sends one byte a second defeats every timeout that is told per read."""
    timer = threading.Timer(seconds + 0.5, watch.shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
