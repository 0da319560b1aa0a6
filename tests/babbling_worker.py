"""A worker process that babbles: 'a' for ever, one token a step, to each sequence; and that breaks as it is asked to.

What a prompt says: ``garbage`` (a line that is no JSON), ``nonsense`` (a report without its fields), ``huge`` (a line
without end), ``deadlock`` (no report any more, though heartbeats). It does not open
while ``refuse`` lies in its folder.
"""

import json
import os
import queue
import sys
import threading
import time
from pathlib import Path

from specserve.backends.local.process.pipes import begin, send

STEP = 0.01


def read(inbox):
    for line in sys.stdin.buffer:
        inbox.put(json.loads(line))
    os._exit(0)


def main():
    replies = begin()
    order = json.loads(sys.stdin.buffer.readline())
    if (Path(order["model"]) / "refuse").exists():
        send(replies, {"failed": "it does not want to"})
        return
    send(replies, {"ready": True, "environment": sorted(os.environ)})
    inbox = queue.SimpleQueue()
    threading.Thread(target=read, args=(inbox,), daemon=True).start()
    left = {}
    while True:
        while not left or not inbox.empty():
            message = inbox.get()
            prompt = bytes(message.get("prompt", ()))
            if b"garbage" in prompt:
                replies.write(b"} no report {\n")
            elif b"nonsense" in prompt:
                send(replies, {"nothing": "of use"})
            elif b"huge" in prompt:
                for _ in range(70):
                    replies.write(b"x" * 1_000_000)
            elif b"deadlock" in prompt:
                threading.Lock().acquire() and threading.Event().wait()
            left |= dict.fromkeys(message.get("add", ()), message.get("config", {}).get("max_tokens") or 100)
            for sequence in message.get("cancel", ()):
                left.pop(sequence, None)
            if message.get("cancel") and not left:
                send(replies, {"outputs": [], "running": 0, "cache_usage": 0})
        outputs = []
        for sequence in list(left):
            left[sequence] -= 1
            outputs.append([sequence, [97], [-0.5], None if left[sequence] else "length"])
            if not left[sequence]:
                del left[sequence]
        send(replies, {"outputs": outputs, "running": len(left), "cache_usage": 0})
        time.sleep(STEP)


main()
