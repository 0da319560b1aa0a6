"""DeepSeek: control tokens around each part; V3 and R1 put the arguments into a fence, V3.1 does not."""

from __future__ import annotations

from specserve.backends.local.marks import DEEPSEEK_MARKS
from specserve.backends.local.tools.formats.base import ToolFormat

_BEGIN, _END, _CALL, _SEPARATOR, _CALL_END = DEEPSEEK_MARKS
_NEXT = rf"\s*{_CALL_END}\s*(?:(?P<more>(?={_CALL}))|{_END})"

WITH_FENCE = ToolFormat(
    template=(_SEPARATOR, "```json"),
    opening=_BEGIN,
    before=f"{_CALL}function{_SEPARATOR}",
    middle="\n```json\n",
    after=f"\n```{_CALL_END}",
    between="\n",
    closing=_END,
    begins=_BEGIN,
    head=rf"\s*{_CALL}function{_SEPARATOR}(?P<name>[\w-]{{1,64}})\s*```json\s*(?=\{{)",
    tail=rf"\s*```{_NEXT}",
    marks=DEEPSEEK_MARKS,
)

PLAIN = ToolFormat(
    template=(_SEPARATOR,),
    opening=_BEGIN,
    before=_CALL,
    middle=_SEPARATOR,
    after=_CALL_END,
    between="",
    closing=_END,
    begins=_BEGIN,
    head=rf"\s*{_CALL}(?P<name>[\w-]{{1,64}}){_SEPARATOR}\s*(?=\{{)",
    tail=_NEXT,
    marks=DEEPSEEK_MARKS,
)
