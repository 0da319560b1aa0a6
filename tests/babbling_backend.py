"""A backend whose engine is a `babbling_worker`; its source is the worker's folder."""

from pathlib import Path

from scripted import Bytes

from specserve.backends.local.backend import LocalBackend
from specserve.backends.local.process.engine import ProcessEngine
from specserve.backends.local.process.worker_process import Prepared, WorkerProcess
from specserve.backends.local.tokens.model_files import ModelFiles

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


class BabblingEngine(ProcessEngine):
    def config(self, sampling):
        return {"max_tokens": sampling.max_tokens}


class Babbling(LocalBackend):
    def __init__(self, settings):
        super().__init__(settings)
        self._prepared = Prepared("babbling_worker", settings.workers)

    async def open_engine(self):
        async def launch():
            return await WorkerProcess.start({"model": self.settings.source}, self._prepared.take(), "Babble")

        engine = BabblingEngine(ModelFiles(Path(self.settings.source), Bytes(), 1000, TEMPLATE, {}, ()), launch)
        await engine.start()
        return engine

    async def stop(self):
        await super().stop()
        self._prepared.end()

    def processes(self):
        return self._engine.pids if self._engine else ()
