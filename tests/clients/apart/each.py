"""What the scripts share: their arguments, and one JSON object printed for all cases; it needs no package."""

import asyncio
import inspect
import json
import sys

URL, CHAT, EMBED = sys.argv[1:4]
QUESTION = "What is the weather in Paris?"


def each(*cases):
    """Run each case after the other; a case is a function, plain or `async`, that raises if something is wrong."""

    async def run():
        results = {}
        for case in cases:
            try:
                result = case()
                results[case.__name__] = {"ok": repr(await result if inspect.isawaitable(result) else result)}
            except Exception as error:  # noqa: BLE001 - whatever a client raises is what the test reports
                results[case.__name__] = {"error": f"{type(error).__name__}: {error}"[:2000]}
        return results

    sys.stdout.write("\n" + json.dumps(asyncio.run(run())) + "\n")
