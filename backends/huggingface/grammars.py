"""Grammars by xgrammar: compiled beside the engine's steps, and kept to in each choice of a token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from specserve.backends.local.process.pipes import short
from specserve.backends.local.tokens.vocabulary import pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

_CACHED = 64 << 20  # bytes of compiled grammars


class Grammars:
    """Compiles the grammars of requests, in a thread.

    Args:
        vocabulary: See `local/vocabulary.py`.
        ready: Takes a request that was compiled, with ``"compiled"``, or that was not, with ``"why"``.
    """

    def __init__(self, vocabulary: Mapping[str, Any], ready: Callable[[dict[str, Any]], None]) -> None:
        self._pieces = pieces(vocabulary)
        self._ready = ready
        self._compiler: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammars")

    def put(self, request: dict[str, Any]) -> None:
        """Have the grammar of a request compiled, unless nobody is ``"left"`` that waits for it when its turn comes."""
        self._thread.submit(self._compile, request)

    def _compile(self, request: dict[str, Any]) -> None:
        if not request["left"]:
            self._ready(request | {"why": "it was given up"})
            return
        try:
            compiled = self._opened(request["end_ids"]).compile_grammar(request["grammar"])
        except Exception as error:  # noqa: BLE001 - goes to the request
            self._ready(request | {"why": short(error)})
        else:
            self._ready(request | {"compiled": compiled})

    def _opened(self, end_ids: Sequence[int]) -> Any:
        if self._compiler is None:
            import xgrammar

            # All requests end with the same tokens: the model's.
            tokens = xgrammar.TokenizerInfo(
                self._pieces, xgrammar.VocabType.RAW, vocab_size=len(self._pieces), stop_token_ids=list(end_ids)
            )
            self._compiler = xgrammar.GrammarCompiler(tokens, max_threads=1, cache_limit_bytes=_CACHED)
        return self._compiler


class Matcher:
    """What one sequence may go on with.

    Args:
        compiled: The grammar.
    """

    def __init__(self, compiled: Any) -> None:
        import xgrammar

        self._matcher = xgrammar.GrammarMatcher(compiled)
        self._mask = xgrammar.allocate_token_bitmask(1, compiled.tokenizer_info.vocab_size)

    def forbid(self, logits: torch.Tensor) -> None:
        """Make what the grammar does not allow next impossible, in place."""
        import xgrammar

        self._matcher.fill_next_token_bitmask(self._mask)
        xgrammar.apply_token_bitmask_inplace(logits[None], self._mask.to(logits.device), vocab_size=len(logits))

    def take(self, token: int) -> None:
        """Go on with a token.

        Raises:
            ValueError: The grammar does not allow it.
        """
        if not self._matcher.accept_token(token):
            raise ValueError("a token came that the grammar does not allow")
