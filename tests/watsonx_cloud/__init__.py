"""A stand-in for IBM's cloud: IAM and watsonx.ai behind one socket, strict about what it is sent.

It was written from IBM's API reference and the types of IBM's SDKs; IBM's cloud itself was never asked. What those do
not document is refused with a 400, as IBM does.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from watsonx_cloud.app import Cloud
from watsonx_cloud.models import CHAT, EMBED, LANGUAGE, RERANK, VISION, WITHDRAWN

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHAT", "EMBED", "LANGUAGE", "RERANK", "VISION", "WITHDRAWN", "Cloud", "running_cloud"]


@contextmanager
def running_cloud(**options: object) -> Iterator[Cloud]:
    """The cloud on a free port of loopback, in a thread; its `url` is that of IAM and of the service."""
    cloud = Cloud(**options)
    server = uvicorn.Server(
        uvicorn.Config(
            cloud, host="127.0.0.1", port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        cloud.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield cloud
    finally:
        server.should_exit = True
        thread.join(10)
