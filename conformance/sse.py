"""The parser of event streams, by the name that the kit has always used: the load test reads streams with it too."""

from specserve.spec.sse import Event, Parser, parse

__all__ = ["Event", "Parser", "parse"]
