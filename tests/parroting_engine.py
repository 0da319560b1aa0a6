"""An engine's process that gives back the ids of its prompts, one of each a step, whatever they are.

It speaks as real ones do, and begins a batch when it has the two sequences of one.
"""

import json
import sys

from specserve.backends.local.process.pipes import begin, send


def main():
    replies = begin()
    waiting = {}
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "model" in message:
            send(replies, {"ready": True})
        for sequence_id in message.get("add", ()):
            waiting[sequence_id] = message["prompt"]
        while len(waiting) == 2:
            outputs = []
            for sequence_id, (token, *rest) in waiting.items():
                outputs.append([sequence_id, [token], [-0.5], None if rest else "length"])
            waiting = {sequence_id: rest for sequence_id, (_, *rest) in waiting.items() if rest}
            send(replies, {"outputs": outputs, "running": len(waiting), "cache_usage": 0})


main()
