"""Writes docs/parameters.md, what becomes of each request parameter.

Usage: ``python -m specserve.made_docs.parameters [--check]``.

The models are loaded and asked, so the table says what is true of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping

from specserve.config.shorthand import CATALOGUE
from specserve.models.registry import Registry
from specserve.spec.document import Parameter, load, operations, parameters
from specserve.spec.made_docs import command

_Capabilities = Mapping[str, Collection[str]]  # operationId -> the parameters in effect

_HEAD = """# What becomes of each parameter

<!-- Made by `python -m specserve.made_docs.parameters`, do not edit. -->

No parameter is ignored in silence. Each is treated in one of three ways:

* **in effect**: the model does what the parameter says;
* **refused**: 400 with `code: unsupported_parameter` and `param` naming it, unless its value means "off";
* **hint**: accepted, because it promises no effect on the answer. Where it has none, the response header
  `x-specserve-ignored-parameters` names it.

`null` means "off" for every parameter that is not required, and for every optional property inside of one: it is the
same as leaving it out.

Parameters that the API does not have are refused with `code: unknown_parameter`; the setting
`unknown_parameters = "ignore"` drops them instead. Unknown keys inside of messages, which clients send back from other
servers (`reasoning`, `id`), are always dropped. The header `x-specserve-ignored-parameters` names what was dropped, in
at most a kilobyte: of many, the first are named and the rest is counted ("and 12 more").

What a model does stands also in the `capabilities` of `GET /v1/models`. Parameters marked with an asterisk are
extensions that OpenAI does not have.
"""


def document(capabilities: Mapping[str, _Capabilities]) -> str:
    """The whole page.

    Args:
        capabilities: Of each model, as `/v1/models` tells them.
    """
    spec = load()
    tables = []
    for operation in operations(spec):
        models = {name: known for name, known in capabilities.items() if operation.operation_id in known}
        policy = parameters(spec, operation.operation_id)
        if models and policy:
            tables.append(f"\n## `POST {operation.path}`\n\n{_table(operation.operation_id, policy, models)}")
    return _HEAD + "".join(tables)


async def _of_the_catalogue() -> dict[str, _Capabilities]:
    registry = Registry(list(CATALOGUE.values()))
    await registry.start()
    try:
        return {model.id: model.backend.capabilities.operations for model in registry}
    finally:
        await registry.stop()


def _table(operation_id: str, policy: Mapping[str, Parameter], models: Mapping[str, _Capabilities]) -> str:
    lines = ["| Parameter | Means off | " + " | ".join(f"`{name}`" for name in models) + " |"]
    lines.append("|---" * (2 + len(models)) + "|")
    for name, parameter in policy.items():
        fates = [_fate(parameter, known[operation_id]) for known in models.values()]
        off = ", ".join(f"`{json.dumps(value)}`" for value in parameter.off)
        star = r" \*" if parameter.extension else ""
        lines.append(f"| `{name}`{star} | {off} | {' | '.join(fates)} |")
    return "\n".join(lines) + "\n"


def _fate(parameter: Parameter, supported: Collection[str]) -> str:
    if parameter.name in supported:
        return "in effect"
    return "hint" if parameter.hint else "refused"


main = command(
    lambda _: document(asyncio.run(_of_the_catalogue())),
    "docs/parameters.md",
    says="Write the tables of parameters into FILE.",
)

if __name__ == "__main__":
    main()
