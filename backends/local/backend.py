"""A backend on a local engine: everything but the engine."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from specserve.backends.abilities import Chats, Completes
from specserve.backends.base import ACCEPTED, Activity, Backend, Call, Capabilities
from specserve.backends.local.prompts import reasoning
from specserve.backends.local.prompts.chat_template import ChatTemplate
from specserve.backends.local.prompts.messages import template_messages
from specserve.backends.local.prompts.named_templates import read_template
from specserve.backends.local.prompts.prompts import ChatPrompts, check_length
from specserve.backends.local.prompts.sizes import size_of
from specserve.backends.local.text import plan
from specserve.backends.local.text.generation import Generation
from specserve.backends.local.text.structured import bound, format_grammar
from specserve.backends.local.tools.chunks import ToolChunks
from specserve.backends.local.tools.formats import GENERIC
from specserve.backends.local.tools.prompts import ToolPrompts
from specserve.backends.local.tools.tools import answer_grammar, ending_after_call, read_tools
from specserve.backends.local.wire.chunks import ChatChunks, CompletionChunks, chunks_of_whole
from specserve.backends.local.wire.events import Events, event_stencils
from specserve.backends.local.wire.logprobs import LogprobBuilder
from specserve.backends.local.wire.stencil import placeholder
from specserve.generated.models import ChatCompletionRequestUserMessage
from specserve.spec.errors import EngineFailure, InvalidRequest, OperationNotSupported, Unavailable, UnsupportedValue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from specserve.backends.base import Accepted, EncodedAnswer, EncodedEvents, ModelSettings
    from specserve.backends.local.engine import Engine
    from specserve.backends.local.prompts.prompts import ChatPrompt
    from specserve.backends.local.tools.formats.base import ToolFormat
    from specserve.backends.local.tools.tools import Tools
    from specserve.backends.local.wire.usage import StreamUsage
    from specserve.generated.models import (
        CreateChatCompletionRequest,
        CreateChatCompletionStreamResponse,
        CreateCompletionRequest,
        CreateCompletionResponse,
    )

T = TypeVar("T")

_SHORT = 4000
"""Characters that are rendered and tokenised on the event loop: a millisecond or two, less than a thread is worth."""

_BOTH = frozenset(
    {
        "max_tokens",
        "model",
        "n",
        "prompt",
        "stop",
        "stream",
        "stream_options",
        "stream_options.continuous_usage_stats",
    }
)
_LONG = 200_000
"""Characters from which on a prompt waits for other long ones, and not for short ones."""

_FEW = 200
"""Messages or prompts that are gone through on the event loop."""

_CHAT_ONLY = frozenset({"max_completion_tokens", "messages", "response_format", "tools", "top_logprobs"})
_COMPLETION_ONLY = frozenset({"best_of", "echo"})


class LocalBackend(Backend, Chats, Completes):
    """A backend whose model runs in this process, behind `Engine`.

    A subclass says how to open the engine and which request parameters it gives effect to; the rest is here: prompts
    and chat templates, limits, text from tokens, stop strings, chunks, usage.

    Attributes:
        features: Request parameters that the engine gives effect to, of those in `Sampling`: ``temperature``,
            ``top_p``, ``top_k``, ``min_p``, ``repetition_penalty``, ``presence_penalty``, ``frequency_penalty``,
            ``logit_bias``, ``seed``, ``min_tokens``, ``ignore_eos``, ``logprobs``; ``response_format`` and ``tools``
            if it holds to a grammar; and ``top_logprobs`` if its outputs are `RankedOutput`. May be set on the instance
            by `open_engine`.
    """

    features: frozenset[str] = frozenset()

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self._engine: Engine | None = None
        self._prompts: ChatPrompts | None = None
        self._tool_prompts: ToolPrompts | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._long_threads: ThreadPoolExecutor | None = None
        self._grammar_threads: ThreadPoolExecutor | None = None
        self._capabilities: Capabilities | None = None

    @abstractmethod
    async def open_engine(self) -> Engine:
        """Load the model, off the event loop.

        Raises:
            BackendLoadError: Why it cannot be loaded.
        """

    async def start(self) -> None:
        """Open the engine, compile the chat template and try it out."""
        # One client's long prompts, or schemas, do not hold up the short prompts of others.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix=f"tokenize-{self.settings.id}")
        self._long_threads = ThreadPoolExecutor(1, thread_name_prefix=f"tokenize-long-{self.settings.id}")
        self._grammar_threads = ThreadPoolExecutor(1, thread_name_prefix=f"grammars-{self.settings.id}")
        own_template = read_template(self.settings.chat_template) if self.settings.chat_template else None
        self._engine = await self.open_engine()
        self._engine.report_outages(self.on_outage)
        source = own_template or self._engine.chat_template
        if source is not None:
            template = ChatTemplate(source, self._engine.special_tokens)
            self._prompts = ChatPrompts(template, self._engine.tokenizer)
            self._tool_prompts = ToolPrompts(template)
        self._logprobs = LogprobBuilder(self._engine.tokenizer)
        shared = (Call(id=placeholder("id"), created=placeholder("created")), self.settings.id, self._logprobs)
        self._chat_events = event_stencils(ChatChunks(*shared))
        self._completion_events = event_stencils(CompletionChunks(*shared))
        self._capabilities = self.declare(self._engine)

    async def stop(self) -> None:
        """Stop the engine, which ends what runs."""
        engine, self._engine = self._engine, None
        pools = self._threads, self._long_threads, self._grammar_threads
        self._threads = self._long_threads = self._grammar_threads = None
        if engine is not None:
            await engine.stop()
        for threads in pools:
            if threads is not None:
                threads.shutdown(wait=False, cancel_futures=True)

    @property
    def engine(self) -> Engine:
        """The running engine.

        Raises:
            Unavailable: Before `start`, after `stop`.
        """
        if self._engine is None:
            raise Unavailable("This model is not loaded.")
        return self._engine

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together: what the engine takes, or the operator's limit if that is less."""
        longest = self.engine.context_length
        return min(longest, self.settings.limits.context_length or longest)

    @property
    def capabilities(self) -> Capabilities:
        """Completions always; chat if the model has a template.

        Raises:
            Unavailable: Before `start`.
        """
        if self._capabilities is None:
            raise Unavailable("This model is not loaded.")
        return self._capabilities

    def declare(self, engine: Engine) -> Capabilities:
        """What `capabilities` says, made once at start. A subclass that does more adds to it."""
        operations = {"createCompletion": (_BOTH | _COMPLETION_ONLY | self.features) - _CHAT_ONLY}
        if self._prompts is not None:
            chat = _BOTH | {"chat_template_kwargs", "max_completion_tokens", "messages"} | self.features
            if self._prompts.takes_effort:
                chat |= {"reasoning_effort"}
            if "tools" in chat:
                chat |= {"tool_choice", "parallel_tool_calls", "messages.tool"}
            operations["createChatCompletion"] = chat - _COMPLETION_ONLY
        return Capabilities(operations, context_length=self.context_length, precision=engine.precision)

    def activity(self) -> Activity:
        """What the engine says; nothing before it is open."""
        return Activity() if self._engine is None else self._engine.activity()

    def outage(self) -> str | None:
        """What the engine says of itself."""
        return None if self._engine is None else self._engine.outage()

    async def chat(
        self,
        request: CreateChatCompletionRequest,
        call: Call,
    ) -> AsyncGenerator[CreateChatCompletionStreamResponse | Accepted | EncodedEvents | EncodedAnswer, None]:
        """Answer a chat request; see `Chats.chat`. The extension `prompt` stands for one user message."""
        asked = plan.parameters(request, call.body)
        form = self._tool_format()
        # A model that never learned to call does not know when to stop: it repeats itself, unless asked for more.
        unasked = not ("parallel_tool_calls" in request.model_fields_set and asked["parallel_tool_calls"])
        tools = read_tools(asked, one_required=unasked and not form.taught)
        planned = await self._plan_chat(asked, tools, form, call.ignore)
        generation = Generation(self.engine, planned)
        shared = (call, self.settings.id, self._logprobs)
        chunks = ChatChunks(*shared) if tools is None else ToolChunks(tools, form, *shared)
        if not asked["stream"]:
            for chunk in await chunks_of_whole(generation, chunks):
                yield chunk
            return
        wanted = _stream_usage(asked)
        stencils = self._chat_events[wanted] if tools is None else None
        events = Events(chunks, call, stencils, wanted, generation.usage().prompt_tokens)
        if planned.jobs[0].sampling.grammar is None:  # else the engine may still refuse the grammar
            yield ACCEPTED
        async with aclosing(generation.steps()) as steps:
            async for deltas in steps:
                yield events.gained(deltas) if deltas else ACCEPTED
        yield events.last(generation.usage())

    async def complete(
        self,
        request: CreateCompletionRequest,
        call: Call,
    ) -> AsyncGenerator[CreateCompletionResponse | Accepted | EncodedEvents | EncodedAnswer, None]:
        """Continue one or several prompts; see `Completes.complete`."""
        asked = plan.parameters(request)
        prompts = await self.token_ids(asked["prompt"])
        planned = self._plan_completion(asked, prompts, explicit_limit="max_tokens" in request.model_fields_set)
        generation = Generation(self.engine, planned)
        chunks = CompletionChunks(call, self.settings.id, self._logprobs)
        if not asked["stream"]:
            for chunk in await chunks_of_whole(generation, chunks):
                yield chunk
            return
        wanted = _stream_usage(asked)
        events = Events(chunks, call, self._completion_events[wanted], wanted, generation.usage().prompt_tokens)
        yield ACCEPTED
        async with aclosing(generation.steps()) as steps:
            async for deltas in steps:
                yield events.gained(deltas) if deltas else ACCEPTED
        yield events.last(generation.usage())

    async def _plan_chat(
        self, asked: dict[str, Any], tools: Tools | None, form: ToolFormat, ignore: Callable[[str], None]
    ) -> plan.Plan:
        limit, alternatives = plan.chat_limit(asked), plan.chat_alternatives(asked)
        messages, text = asked["messages"], asked["prompt"]
        param = "messages" if text is None else "prompt"
        if text is None and messages is None:
            raise InvalidRequest("Give 'messages'.", param="messages")
        if text is not None and messages is not None:
            raise InvalidRequest("Give either 'messages' or 'prompt', not both.", param="prompt")
        if text is not None:
            messages = [ChatCompletionRequestUserMessage.model_construct(role="user", content=text)]
        grammar = None
        if tools is not None or asked["response_format"]:
            # A small schema can take long too.
            grammar = await self._in_thread(
                self._grammar_threads, lambda: answer_grammar(tools, form, format_grammar(asked))
            )
        own = asked["chat_template_kwargs"] or {}
        prompt = await self._chat_prompt(messages, asked["reasoning_effort"], own, tools, ignore)
        planned = plan.make_plan(
            asked,
            [prompt.ids],
            limit=limit,
            default_limit=None,
            alternatives=alternatives,
            context_length=self.context_length,
            vocabulary=self.engine.tokenizer.size,
            param=param,
            engine_ranks="top_logprobs" in self.features,
            thinking=prompt.thinking,
        )
        planned = ending_after_call(planned, tools, form)
        return bound(planned, grammar, asked, "response_format" if tools is None else "tools")

    def _tool_format(self) -> ToolFormat:
        return GENERIC if self._tool_prompts is None else self._tool_prompts.form

    def _plan_completion(self, asked: dict[str, Any], prompts: list[list[int]], *, explicit_limit: bool) -> plan.Plan:
        ranks = "top_logprobs" in self.features
        return plan.make_plan(
            asked,
            prompts,
            limit=asked["max_tokens"] if explicit_limit else None,
            default_limit=plan.DEFAULT_COMPLETION_TOKENS,
            alternatives=plan.completion_alternatives(asked, engine_ranks=ranks),
            context_length=self.context_length,
            vocabulary=self.engine.tokenizer.size,
            param="prompt",
            echoed=[self._text(prompt) for prompt in listed(asked["prompt"])] if asked["echo"] else (),
            candidates=plan.candidates(asked, engine_scores="logprobs" in self.features),
            engine_ranks=ranks,
        )

    async def _chat_prompt(
        self,
        messages: Sequence[Any],
        effort: str | None,
        own: Mapping[str, Any],
        tools: Tools | None,
        ignore: Callable[[str], None],
    ) -> ChatPrompt:
        prompts = self._prompts
        if prompts is None or self._tool_prompts is None:
            raise OperationNotSupported("This model has no chat template: use completions.", param="model")
        if effort == "none" and prompts.thinks and not prompts.takes_effort:
            raise UnsupportedValue("This model always thinks.", param="reasoning_effort")
        tool_prompts, ignored, longest = self._tool_prompts, list[str](), self.context_length

        def make() -> ChatPrompt:
            given = template_messages(messages)
            prompts.drop_names(given, ignored.append)
            plain_messages, tool_variables = tool_prompts.prepared(given, tools)
            effort_variables = {} if effort is None else reasoning.effort_variables(effort)
            variables = tool_variables | effort_variables | prompts.own_variables(own, ignored.append)
            return prompts.prompt(plain_messages, variables, longest)

        size = _SHORT + 1 if len(messages) > _FEW else size_of([messages, own, tools and tools.offered], _SHORT)
        prompt = await self._off_loop(make, size)
        for place in ignored:
            ignore(place)
        return prompt

    async def token_ids(self, prompt: Any, param: str = "prompt") -> list[list[int]]:
        """Token ids of each prompt: text as it stands, after the token that begins a text if the model has one.

        Args:
            prompt: A text, a list of texts, the tokens of one text, or a list of those.
            param: The request parameter it comes from.

        Raises:
            InvalidRequest: There is no prompt, or a token that the model does not have.
        """
        prompts = listed(prompt)
        if not prompts:
            raise InvalidRequest(f"Give at least one {param}.", param=param)
        size = _SHORT + 1 if len(prompts) > _FEW else sum(map(len, prompts))
        return await self._off_loop(lambda: [self._ids(item, param) for item in prompts], size)

    def _ids(self, prompt: str | list[int], param: str) -> list[int]:
        engine = self.engine
        tokenizer, special = engine.tokenizer, engine.special_tokens
        if not isinstance(prompt, str):
            if prompt and not 0 <= min(prompt) <= max(prompt) < tokenizer.size:
                raise InvalidRequest(f"Token ids of this model are below {tokenizer.size}.", param=param)
            return prompt
        check_length(tokenizer.least_tokens(prompt), self.context_length, param)
        begins_itself = bool(special.get("bos_token")) and prompt.startswith(special["bos_token"])
        ids = tokenizer.encode(prompt, add_special_tokens=not begins_itself)
        if not ids:
            # No text, and nothing put before it: begin a new one.
            ids = tokenizer.encode(special.get("bos_token") or special.get("eos_token", ""), add_special_tokens=False)
        if not ids:
            raise InvalidRequest("This model has no token to begin an empty text with.", param=param)
        return ids

    def _text(self, prompt: str | list[int]) -> str:
        if isinstance(prompt, str):
            return prompt
        return self.engine.tokenizer.text_bytes(prompt).decode(errors="replace")

    async def _off_loop(self, work: Callable[[], T], size: int) -> T:
        if size <= _SHORT:
            return work()
        return await self._in_thread(self._threads if size <= _LONG else self._long_threads, work)

    async def _in_thread(self, threads: ThreadPoolExecutor | None, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                return work()
            except StopIteration as error:  # no future takes it: who waits would wait for ever
                raise EngineFailure("The prompt could not be made.") from error

        return await asyncio.get_running_loop().run_in_executor(threads, guarded)


def _stream_usage(asked: Mapping[str, Any]) -> StreamUsage:
    options = asked["stream_options"] or {}
    if not options.get("include_usage"):
        return "none"
    return "each" if options.get("continuous_usage_stats") else "last"


def listed(prompt: Any) -> list[str] | list[list[int]]:
    """The four shapes of a prompt as one: a list. No prompt is an empty one."""
    if not isinstance(prompt, list):
        return [prompt or ""]
    return [prompt] if prompt and isinstance(prompt[0], int) else prompt
