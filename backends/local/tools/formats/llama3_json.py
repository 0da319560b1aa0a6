"""Llama 3.1 to 3.3: the answer is an object, or several with semicolons between them."""

from __future__ import annotations

from specserve.backends.local.marks import LLAMA3_MARKS
from specserve.backends.local.tools.formats.base import ToolFormat

FORMAT = ToolFormat(
    template=('"parameters": ', "<|eot_id|>"),
    opening="",
    before='{"name": "',
    middle='", "parameters": ',
    after="}",
    between="; ",
    closing="",
    begins="{",
    head=(
        r'\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"(?P<name>[^"\\]{1,64})"\s*,'
        r'\s*"(?:parameters|arguments)"\s*:\s*(?=\{)'
    ),
    tail=r"\s*\}",
    at_start=True,
    triggers=False,
    marks=LLAMA3_MARKS,
)
