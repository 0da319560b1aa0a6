"""The contract of a backend. To write one, read this file, `abilities.py` and `specserve.spec.errors`.

A backend object serves one model. It is made by a factory, a callable ``(ModelSettings) -> Backend`` named in one row
of `table.py`, or given in full as ``"package.module:callable"``. Making it does nothing; `start` loads.

What all backends have is here: settings, capabilities, start and stop. What one can do for a request is an ability, a
Protocol of one method in `abilities.py`; a backend has the methods of its abilities and no others.

Everything that crosses this line is a model generated from `spec/swagger.yaml`. A request reaches a backend only after
it was validated against the spec and every parameter outside `Capabilities` was refused, so a backend sees nothing that
it did not declare, except hints and values that mean "off". A parameter that was given as null is absent, so is an
empty list where that asks for nothing. In a large request, of more than 64 KiB, what can hold many values is plain JSON
in place of a model, and a list of objects makes the model of each only when it is looked at: `Call.body` is the same in
plain JSON for requests of any size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from specserve.spec.errors import BackendLoadError, OperationNotSupported

Able = TypeVar("Able")

LoadPolicy = Literal["start", "request", "manual"]
"""When a model is loaded: at start, on the first request, or by hand only."""


@dataclass(frozen=True)
class Limits:
    """What one model gives at most. None sets no limit, or leaves it to the server's own setting.

    Attributes:
        max_concurrent_requests: Requests in work at the same time.
        max_queued_requests: Requests that may wait.
        max_output_tokens: Tokens of one answer. A request that asks for more is refused before it reaches the backend,
            one that names no limit is given this one.
        context_length: Tokens of prompt and answer together. For the backend to keep, and to declare in its
            capabilities.
    """

    max_concurrent_requests: int | None = None
    max_queued_requests: int | None = None
    max_output_tokens: int | None = None
    context_length: int | None = None


@dataclass(frozen=True)
class WorkerSettings:
    """What holds for the processes of its own that a backend may start.

    Attributes:
        silence_seconds: A process that says nothing for so long, and does not compute either, is killed and started
            again; 0 never.
        environment: Names of environment variables, or patterns such as ``ACME_*``, that such a process gets beside
            those that libraries of engines are known to read.
    """

    silence_seconds: float = 30
    environment: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelSettings:
    """One model as the operator described it.

    Attributes:
        id: The name clients use in `model`; may contain ``/``.
        backend: A row of `table.py`, or ``"package.module:callable"``.
        source: What the backend loads: a path, or a scheme that it knows such as ``pypi:``. Empty if it needs none.
        owned_by: Shown in the model list.
        chat_template: A file, or a name as in `local/templates/`, to take in place of the model's own; or empty.
        options: The backend's own settings. The backend validates them, unknown names included, when it is made.
        aliases: Other names that clients may use in `model`.
        defaults: Values of request parameters for requests that do not have them; see `defaults.py`.
        limits: What it gives at most.
        load: When it is loaded; None leaves it to the server's own setting.
        unload_after_seconds: Unload it after this long without a request; 0 never, None leaves it to the server's own
            setting.
        memory_mb: The memory it takes, in units of 1,000,000 bytes; None has it measured. See `budget.py`.
        entry: The id, with its `*`, of the entry that this is one of the models of; empty for a model of its own.
        workers: What holds for processes that the backend starts.
    """

    id: str
    backend: str
    source: str = ""
    owned_by: str = "specserve"
    chat_template: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    load: LoadPolicy | None = None
    unload_after_seconds: float | None = None
    memory_mb: int | None = None
    entry: str = ""
    workers: WorkerSettings = WorkerSettings()

    @property
    def pass_through(self) -> frozenset[str]:
        """Names of request parameters outside the contract that the model takes: the option of that name.

        Only a backend that knows the option gets so far; any other refuses it as unknown.
        """
        names = self.options.get("pass_through", ())
        return frozenset(names) if isinstance(names, list | tuple) else frozenset()


NumberFormat = Literal["f32", "bf16", "f16", "u8"]


@dataclass(frozen=True)
class Precision:
    """With which numbers an engine computes. The weights are apart: they are as the model's files have them.

    Attributes:
        compute: Format of sums and products; None if the engine does not tell.
        kv_cache: Format of the KV cache; None for a model that has none.
        dynamic_quantization: Whether activations are rounded to 8 bits.
    """

    compute: NumberFormat | None
    kv_cache: NumberFormat | None = None
    dynamic_quantization: bool = False

    @property
    def exact(self) -> bool:
        """Whether nothing is rounded to less than 32 bits."""
        return self.compute == "f32" and self.kv_cache in {"f32", None} and not self.dynamic_quantization

    def __str__(self) -> str:
        """For people: ``exact (f32)``, or what is not."""
        if self.exact:
            return f"exact ({self.compute})"
        parts = [f"computes in {self.compute or 'what the device chooses'}"]
        if self.kv_cache is not None:
            parts.append(f"KV cache {self.kv_cache}")
        if self.dynamic_quantization:
            parts.append("activations rounded to 8 bits")
        return f"fast ({', '.join(parts)})"


@dataclass(frozen=True)
class Capabilities:
    """What one model can do, as data: decides what is refused, and stands in `/v1/models`.

    Attributes:
        operations: operationId -> names of the request parameters that take effect there. An operation that is not a
            key is refused with 404 `operation_not_supported`. For each key the backend must have the ability that the
            contract names (`x-specserve-ability`). Beside top-level parameters these dotted features exist:
            ``messages.content.image_url``, ``.input_audio``, ``.file``; ``messages.tool`` (tool messages and
            `tool_calls` of assistant messages); ``stream_options.continuous_usage_stats``.
        context_length: Most tokens of prompt and answer together, or None if the backend cannot tell.
        max_output_tokens: Most tokens of an answer, where that is less than the context leaves; or None.
        embedding_dimensions: Length of the vectors, for a model that embeds.
        precision: With which numbers it computes, where the backend computes itself.
    """

    operations: Mapping[str, frozenset[str]]
    context_length: int | None = None
    max_output_tokens: int | None = None
    embedding_dimensions: int | None = None
    precision: Precision | None = None


def _ignore_nothing(_place: str) -> None:
    """For a call that nobody wants to be told about."""


@dataclass(frozen=True)
class Call:
    """What the server adds to a request: names that every chunk of the answer carries.

    Attributes:
        id: The completion's id, unique, such as ``chatcmpl-...``.
        created: Unix time in seconds.
        body: The request as JSON, as it passed validation, for a backend that hands it on. Must not be changed.
        body_bytes: How large the request was: what goes through all of a large one belongs off the event loop.
        passed_through: The parameters outside the contract that the model takes; see `ModelSettings.pass_through`.
        ignore: Is told what of the request has no effect on this model, by its place, such as ``messages[0].name``; in
            time if that is before the first chunk. The response names it.
    """

    id: str
    created: int
    body: Mapping[str, Any] | None = None
    body_bytes: int = 0
    passed_through: Mapping[str, Any] = field(default_factory=dict)
    ignore: Callable[[str], None] = _ignore_nothing


@dataclass(frozen=True, slots=True)
class Accepted:
    """Says that nothing is left for which the request itself could be refused: only the engine's answer is awaited.

    A backend may yield it once, before the first chunk of a stream: when the request has been checked in full, fits the
    context, and the engine (or an upstream, by its 2xx headers) has taken it. From then on the handler may start the
    response while it waits for the first chunk, so a later error may reach the client as an event of the stream
    instead of as a status. Without it the response starts with the first chunk. It means nothing in a plain answer.
    """


ACCEPTED = Accepted()


@dataclass(frozen=True, slots=True)
class EncodedEvents:
    """Events of a stream as they go out, from a backend that relays or encodes them itself.

    Such a backend answers a request with ``stream: true`` with these in place of chunks, and keeps the contract itself:
    each event is ``data: JSON`` and a blank line; the usage is among them if the client asked for it, and `null` in
    those before it (with ``continuous_usage_stats`` the usage so far). The event ``[DONE]`` is the handler's.

    Attributes:
        data: One or several whole events. Also comments (``: text`` and a blank line), which keep a connection alive
            and start the response if it has not started.
        usage: As in JSON, once it is known, whether or not the client asked for it: for the log.
    """

    data: bytes
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class EncodedAnswer:
    """A whole answer as it goes out: all that a backend yields to a request without ``stream``, if it encodes.

    Attributes:
        data: The JSON.
        usage: As in it, for the log.
    """

    data: bytes
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Activity:
    """What the engine itself says it is doing now.

    Attributes:
        running: Generations the engine holds, as counted by the engine, not by the requests that asked.
        cache_usage: Share of the KV cache in use, 0 to 1.
    """

    running: int = 0
    cache_usage: float = 0.0


class Backend(ABC):
    """One served model. All methods run on the event loop; heavy work belongs in threads that the backend owns.

    An object is started once. A model that is unloaded and loaded again gets a new one.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self.settings = settings
        self.on_outage: Callable[[], None] = lambda: None
        """To be called whenever what `outage` says has changed. Set before `start` by the one who calls it."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the model can do. Called after `start`; must not change until `stop`."""

    def prepare(self) -> None:  # noqa: B027  most have nothing to begin early
        """Begin, without waiting and before there is an event loop, what `start` will wait for. Optional.

        For what costs seconds whatever the model, such as a process that imports a large library. Must not fail: what
        goes wrong is found again, and told, by `start`.
        """

    async def expand(self) -> Sequence[ModelSettings]:
        """List the models that the settings stand for, whose id has a `*`; see `patterns.py`. Optional.

        Called in place of `start`, and `stop` after it. Each of the models is then made and started by itself.

        Raises:
            BackendLoadError: The list cannot be had, or none of its models is meant.
        """
        raise BackendLoadError(f"backend {self.settings.backend!r} lists no models, so '*' cannot be used", key=("id",))

    @abstractmethod
    async def start(self) -> None:
        """Load the model. Return when it can answer; raise `BackendLoadError` with the cause if it cannot."""

    @abstractmethod
    async def stop(self) -> None:
        """End what still runs and give back threads and memory. May be called twice, and after a failed `start`."""

    def activity(self) -> Activity:
        """Tell what the engine is doing. Cheap: called for every health check."""
        return Activity()

    def outage(self) -> str | None:
        """Why a model that was started can answer nothing just now, in words for clients; None if it can.

        For a backend that mends itself, as by starting its engine again. Its requests fail meanwhile.
        """
        return None

    def processes(self) -> Sequence[int]:
        """The ids of the processes in which the model's engine runs, apart from the server's own.

        Their resident memory is taken for what the model takes.
        """
        return ()

    def ability(self, kind: type[Able]) -> Able:
        """This backend as one that has an ability; see `abilities.py`.

        Args:
            kind: The Protocol.

        Raises:
            OperationNotSupported: It does not have it.
        """
        if isinstance(self, kind):
            return self
        raise OperationNotSupported("The requested model does not support this operation.", param="model")
