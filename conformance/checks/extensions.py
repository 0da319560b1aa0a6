"""What the contract has and OpenAI has not."""

from __future__ import annotations

from collections.abc import Iterator

from specserve.conformance.checks import NothingShown, check
from specserve.conformance.checks.chat import usage_sum
from specserve.conformance.evidence import Answer, Finding, dig


@check("extensions.usage-so-far")
def usage_so_far(answer: Answer) -> Iterator[Finding]:
    """Not only in the last chunk."""
    lacking = sum(not isinstance(dig(payload, "usage"), dict) for payload in answer.payloads)
    if lacking:
        yield Finding("a usage in each chunk", f"none in {lacking} of {len(answer.payloads)}", silent=True)


@check("extensions.usage-so-far-grows")
def usage_so_far_grows(answer: Answer) -> Iterator[Finding]:
    """What was spent stays spent."""
    usages = [usage for payload in answer.payloads_before_done if isinstance(usage := dig(payload, "usage"), dict)]
    if len(usages) < 2:
        msg = "there are not two usages, which extensions.usage-so-far tells"
        raise NothingShown(msg)
    counts = [count for usage in usages if isinstance(count := usage.get("completion_tokens"), int)]
    if counts != sorted(counts):
        yield Finding("completion_tokens that never fall", counts)
    for usage in usages:
        wrong = list(usage_sum(usage))
        if wrong:
            yield from wrong
            return
