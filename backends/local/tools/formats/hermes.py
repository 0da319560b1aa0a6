"""Hermes 2 and 3, Qwen 2.5 and 3: each call is an object between tags."""

from __future__ import annotations

from specserve.backends.local.marks import HERMES_MARKS
from specserve.backends.local.tools.formats.base import ToolFormat, named_object

FORMAT = ToolFormat(
    template=("<tool_call>",),
    template_not="<arg_key>",  # GLM writes other things between the same tags
    opening="",
    before='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    after="}\n</tool_call>",
    between="\n",
    closing="",
    begins="<tool_call>",
    head=rf"\s*{named_object(['arguments', 'parameters'])}",
    tail=r"\s*\}\s*</tool_call>",
    ends_call="</tool_call>",
    marks=HERMES_MARKS,
)
