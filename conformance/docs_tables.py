"""Write what the documentation says of requirements and mutants: ``python -m specserve.conformance.docs_tables``."""

from __future__ import annotations

from itertools import groupby

from specserve.conformance.exchanges import load as load_exchanges
from specserve.conformance.mutants import load as load_mutants
from specserve.conformance.requirements import Requirement
from specserve.conformance.requirements import load as load_requirements
from specserve.spec.made_docs import command

_INTRO = """# Requirements

Made by `python -m specserve.conformance.docs_tables` from `conformance/requirements/` and `conformance/mutants/`.
What the statuses, levels and profiles mean: [conformance.md](conformance.md).
"""


def page() -> str:
    """The whole page."""
    requirements = list(load_requirements().values())
    exchanges = load_exchanges()
    core = [name for name in _sent(requirements, "core") if exchanges[name].billable]
    levels = {level: sum(r.level == level for r in requirements) for level in ("MUST", "SHOULD", "MAY")}
    counts = ", ".join(f"{count} {level}" for level, count in levels.items() if count)
    proof = len(load_mutants())
    lines = [
        _INTRO,
        f"{len(requirements)} requirements ({counts}), shown by {len(exchanges)} requests, proved by {proof} mutants.",
        f"The profile `core` sends {len(core)} requests that a provider would bill.",
    ]
    for family, rows in groupby(requirements, key=lambda requirement: requirement.family):
        lines += [
            "",
            f"## {family}",
            "",
            "| Id | Requirement | Profile | Cost | Where it stands |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [_row(requirement) for requirement in rows]
    known = [(r, deviation) for r in requirements for deviation in r.known]
    lines += ["", "## Known deviations", "", "| Requirement | Server | What | Evidence |", "| --- | --- | --- | --- |"]
    lines += [f"| `{r.id}` | {d.server} | {d.what} | {d.evidence} |" for r, d in known]
    lines += [
        "",
        "## Kill matrix",
        "",
        _MATRIX,
        "",
        "| Mutant | What is wrong with it | Found out by |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| `{mutant.id}` | {mutant.what} | {', '.join(f'`{name}`' for name in sorted(mutant.killers))} |"
        for mutant in load_mutants().values()
    ]
    return "\n".join(lines) + "\n"


_MATRIX = (
    "Each mutant is a good server that is broken in one point. `tests/conformance/test_mutants.py` runs every one:\n"
    "it is found out by all that stand here, and by no other MUST."
)


def _row(requirement: Requirement) -> str:
    text = requirement.text.replace("|", "\\|")
    where = requirement.pointer
    place = f"[{where.partition('#')[0].rsplit('/', 1)[-1]}]({where})" if where.startswith("http") else f"`{where}`"
    return f"| `{requirement.id}` | {text} | {requirement.profile} | {requirement.cost(load_exchanges())} | {place} |"


def _sent(requirements: list[Requirement], profile: str) -> set[str]:
    return {name for requirement in requirements if requirement.profile == profile for name in requirement.uses}


main = command(lambda _: page(), "docs/requirements.md", says="Write the page of requirements and mutants into FILE.")

if __name__ == "__main__":
    main()
