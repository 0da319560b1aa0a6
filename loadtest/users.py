"""Locust's users: in a closed loop each waits for its answer, in an open loop one sends for all on schedule."""

from __future__ import annotations

from typing import ClassVar

from locust import User, task

from specserve.loadtest.worker import Worker

_REST = 0.02


class ClosedLoopUser(User):
    """Asks, waits for the answer, asks again."""

    abstract = True
    worker: ClassVar[Worker]

    def wait_time(self) -> float:
        """Rest only between stages."""
        return 0.0 if self.worker.is_open else _REST

    @task
    def ask(self) -> None:
        """One request."""
        self.worker.ask()


class OpenLoopUser(User):
    """Sends on schedule and waits for no answer. Each process has one."""

    abstract = True
    worker: ClassVar[Worker]

    def __init__(self, environment: object) -> None:
        super().__init__(environment)
        self._stages_done = -1

    def wait_time(self) -> float:
        """Look for the next stage."""
        return _REST

    @task
    def run_schedule(self) -> None:
        """One stage."""
        order = self.worker.order
        if order is not None and order.stage > self._stages_done:
            self._stages_done = order.stage
            self.worker.run_schedule(order)


def users_of(*, open_loop: bool) -> type[User]:
    """The class of users of a process, whose `worker` must be set."""
    base = OpenLoopUser if open_loop else ClosedLoopUser
    return type("LoadUser", (base,), {"abstract": False})
