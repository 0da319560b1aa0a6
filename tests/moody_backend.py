"""`echo`, with loads that a test directs: the model's source is a file that says in JSON how the next one goes.

``{"seconds": how long it takes, "fail": why it fails, "crash": true, "megabytes": what its own process takes}``; each
load and each unload that comes to its end leaves a sign in the file beside it, which ends in ``.log``.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from specserve.backends.echo import Echo
from specserve.backends.errors import BackendLoadError

HOLDER = "import sys; held = b'x' * (int(sys.argv[1]) * 1_000_000); print('ready', flush=True); sys.stdin.read()"


class Moody(Echo):
    def __init__(self, settings):
        super().__init__(settings)
        self._holder = None
        self._counted = False

    async def start(self):
        mood = self._mood()
        await asyncio.sleep(mood.get("seconds", 0))
        if "megabytes" in mood:
            await asyncio.to_thread(self._hold, mood["megabytes"])
        if mood.get("crash"):
            raise RuntimeError("secret detail")
        if "fail" in mood:
            raise BackendLoadError(mood["fail"])
        await super().start()
        self._note("+")
        self._counted = True

    def _mood(self):
        return json.loads(Path(self.settings.source).read_text())

    def _hold(self, megabytes):
        command = [sys.executable, "-c", HOLDER, str(megabytes)]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._holder.stdout.readline()

    async def stop(self):
        await super().stop()
        if self._holder is not None:
            self._holder.communicate()
            self._holder = None
        if self._counted:
            self._note("-")
            self._counted = False

    def processes(self):
        return () if self._holder is None else (self._holder.pid,)

    def _note(self, what):
        with Path(f"{self.settings.source}.log").open("a") as log:
            log.write(what)
