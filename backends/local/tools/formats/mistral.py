"""Mistral: after a control token, a list of objects, or since 2025 names and arguments in turn."""

from __future__ import annotations

from specserve.backends.local.marks import MISTRAL_MARKS
from specserve.backends.local.tools.formats.base import ToolFormat, named_object

LISTED = ToolFormat(
    template=("[TOOL_CALLS]",),
    opening="[TOOL_CALLS][",
    before='{"name": "',
    middle='", "arguments": ',
    after="}",
    between=", ",
    closing="]",
    begins="[TOOL_CALLS]",
    head=rf"\s*(?:\[\s*)?{named_object(['arguments'])}",
    # Templates have models say the id of a call, too; the server makes its own.
    tail=r'\s*(?:,\s*"id"\s*:\s*"[^"]*"\s*)?\}\s*(?:(?P<more>,)|\])',
    marks=MISTRAL_MARKS[:1],
    short_ids=True,
)

WITH_NAMES = ToolFormat(
    template=("[TOOL_CALLS]", "[ARGS]"),
    opening="",
    before="[TOOL_CALLS]",
    middle="[ARGS]",
    after="",
    between="",
    closing="",
    begins="[TOOL_CALLS]",
    head=r"\s*(?P<name>[\w-]{1,64})(?:\[CALL_ID\]\w+)?\[ARGS\]\s*(?=\{)",
    tail="",
    marks=MISTRAL_MARKS,
    short_ids=True,
)
