"""`echo`, with loads that a test directs: the model's source is a file that says in JSON how the next one goes.

``{"fail": why it fails, "crash": true, "megabytes": what its own process takes}``. As long as it says ``"hold": true``
a load does not end, and with ``"pause": true`` an answer does not go on after its beginning. Each load and each unload
that comes to its end leaves a sign in the file beside it, which ends in ``.log``.

For an entry with a `*` it is ``{"lists": names}``, of models whose files lie beside its own, or ``{"fail": why}``.
"""

import asyncio
import json
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

from specserve.backends.echo import Echo
from specserve.backends.patterns import one_of
from specserve.spec.errors import BackendLoadError

HOLDER = "import sys; held = b'x' * (int(sys.argv[1]) * 1_000_000); print('ready', flush=True); sys.stdin.read()"


class Moody(Echo):
    def __init__(self, settings):
        super().__init__(settings)
        self._holder = None
        self._counted = False

    async def start(self):
        while (mood := self._mood()).get("hold"):
            await asyncio.sleep(0.02)
        if "megabytes" in mood:
            await asyncio.to_thread(self._hold, mood["megabytes"])
        if mood.get("crash"):
            raise RuntimeError("secret detail")
        if "fail" in mood:
            raise BackendLoadError(mood["fail"])
        await super().start()
        self._note("+")
        self._counted = True

    async def expand(self):
        mood = self._mood()
        if "fail" in mood:
            raise BackendLoadError(mood["fail"])
        beside = Path(self.settings.source).parent
        for name in mood["lists"]:
            (beside / f"{name}.json").touch()
        return [one_of(self.settings, name, source=str(beside / f"{name}.json")) for name in mood["lists"]]

    async def chat(self, request, call):
        async with aclosing(super().chat(request, call)) as chunks:
            async for chunk in chunks:
                yield chunk
                while self._mood().get("pause"):
                    await asyncio.sleep(0.02)

    def _mood(self):
        return json.loads(Path(self.settings.source).read_text() or "{}")

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
