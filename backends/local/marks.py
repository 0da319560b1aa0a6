"""The marks by which models set apart thoughts and calls of tools, as data.

They stand apart from the code that reads them, because tokenizers must know them too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ThinkFormat:
    """The marks around a model's thoughts, text or control tokens."""

    opens: str
    closes: str


THINK_FORMATS = (
    ThinkFormat("<think>", "</think>"),  # DeepSeek R1, QwQ, Qwen 3, GLM 4.5, SmolLM3, MiniMax M1
    ThinkFormat("[THINK]", "[/THINK]"),  # Magistral
    ThinkFormat("<seed:think>", "</seed:think>"),  # Seed OSS
    ThinkFormat("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    ThinkFormat("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ThinkFormat("◁think▷", "◁/think▷"),  # Kimi VL Thinking
    ThinkFormat("<thinking>", "</thinking>"),
)

THINK_MARKS = frozenset(mark for known in THINK_FORMATS for mark in (known.opens, known.closes))

DEEPSEEK_MARKS = (
    "<｜tool▁calls▁begin｜>",  # noqa: RUF001 - that is how they are spelled
    "<｜tool▁calls▁end｜>",  # noqa: RUF001
    "<｜tool▁call▁begin｜>",  # noqa: RUF001
    "<｜tool▁sep｜>",  # noqa: RUF001
    "<｜tool▁call▁end｜>",  # noqa: RUF001
)
HERMES_MARKS = ("<tool_call>", "</tool_call>")
LLAMA3_MARKS = ("<|python_tag|>",)
MISTRAL_MARKS = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")

TOOL_MARKS = frozenset((*DEEPSEEK_MARKS, *HERMES_MARKS, *LLAMA3_MARKS, *MISTRAL_MARKS))
"""Control tokens that stand around calls. Tokenizers give them as text, so that calls can be told from other text."""
