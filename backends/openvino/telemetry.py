"""Keeps OpenVINO from reporting its use: importing it would send an event to its makers, from a forked process.

A server of one's own models asks nothing of the internet. And the fork is made in a process that has threads already:
it can inherit a lock that nobody will ever release, and outlive the server with the server's output held open.
"""

from __future__ import annotations

import sys


def block() -> None:
    """Make the reporting library look as if it were not installed. Call before anything imports `openvino`."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what the import system documents
