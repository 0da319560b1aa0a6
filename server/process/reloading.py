"""The configuration, read again while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from specserve.config.settings import Settings
from specserve.config.sources import SettingsError, is_live
from specserve.models.reconfigure import Changes

Reload = Callable[[], Awaitable[tuple[Settings, Changes]]]
"""Reads the settings again and gives the models among them effect; or raises `SettingsError`, and nothing changes."""


class Reloader:
    """Reads the configuration again, and says in the log what came of it."""

    def __init__(self, settings: Settings, reload: Reload) -> None:
        self._settings = settings
        self._reload = reload
        self._log = structlog.get_logger("specserve.reload")
        self._turn = asyncio.Lock()

    async def __call__(self) -> None:
        """Take what the configuration says now. If it is wrong, nothing changes. Whoever asks meanwhile comes next."""
        async with self._turn:
            await self._take()

    async def _take(self) -> None:
        try:
            settings, changes = await self._reload()
        except SettingsError as error:
            self._log.error("the configuration is wrong; nothing has changed", error=str(error))
            return
        except Exception as error:  # noqa: BLE001  a server that runs must not end for this
            self._log.error("the configuration could not be read; nothing has changed", exc_info=error)
            return
        self._log.info("the configuration was read again", **vars(changes))
        late = [name for name in Settings.model_fields if not is_live(name) and self._differs(settings, name)]
        if late:
            self._log.warning("some settings take effect at the next start only", settings=late)

    def _differs(self, settings: Settings, name: str) -> bool:
        return bool(getattr(settings, name) != getattr(self._settings, name))
