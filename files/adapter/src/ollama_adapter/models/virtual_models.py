"""Virtual models in the catalogue: names that clients gave to a served model with texts and parameters of their own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..ollama.names import InvalidName, ModelName, parse
from ..service.peers import Place
from .catalogue import Catalogue, OwnModel
from .presets import Layer, Preset, digest_of
from .virtual_store import Record, StoreError, VirtualStore

_log = logging.getLogger(__name__)

# Called with the reason why it did not work, "" where it did.
Done = Callable[[str], None]


def directory_of(state_directory: str, place: Place) -> Path | None:
    """Where the models are kept, None for memory. Processes on one port need a place that all of them see; without a
    setting that is their own, which goes when they end."""
    above = Path(state_directory) if state_directory else place.directory
    return None if above is None else above / "virtual-models"


class VirtualModels:
    """Keeps the catalogue's virtual models equal to those of the store."""

    def __init__(self, catalogue: Catalogue, store: VirtualStore) -> None:
        self._catalogue = catalogue
        self._store = store
        self._writer: ThreadPoolExecutor | None = None
        self._hidden: dict[str, str] = {}  # key -> why it was said to be hidden
        catalogue.refresh = self.refresh
        self.refresh()

    def refresh(self) -> None:
        """Take over what has changed in the store."""
        if self._store.refresh():
            self._take_over()

    def record(self, name: str) -> Record | None:
        """What is kept under a name, shown or hidden."""
        try:
            key = parse(name).key
        except InvalidName:
            return None
        self.refresh()
        return self._store.records.get(key)

    @property
    def layers(self) -> frozenset[Layer]:
        """The layers of all virtual models."""
        self.refresh()
        return frozenset(layer for record in self._store.records.values() for layer in record.preset.layers)

    def make(self, name: ModelName, source: OwnModel, parent: str, preset: Preset, done: Done) -> None:
        """Keep a model, in place of one of the same name.

        :param source: what it is made from, served or virtual.
        :param parent: the name to show for that.
        """
        record = Record(name, (source.base or source.name).display, parent, time.time(), preset)
        self._change(lambda: self._store.write(record), done)

    def forget(self, name: ModelName, done: Done) -> None:
        """Delete a model."""
        self._change(lambda: self._store.remove(name), done)

    def close(self) -> None:
        """End the thread that writes. What it is writing, it finishes."""
        if self._writer is not None:
            self._writer.shutdown(wait=True)

    def _change(self, change: Callable[[], None], done: Done) -> None:
        """Change the store, in a thread where that waits for a disk: the answers of others go on meanwhile. A single
        thread, so that changes happen in the order in which they were asked for."""
        if not self._store.is_on_disk:
            self._ended(_trouble_of(change), done)
            return
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, "virtual models")
        loop = asyncio.get_running_loop()

        def written(future: Future[str]) -> None:
            trouble = future.result()
            loop.call_soon_threadsafe(self._ended, trouble, done)

        self._writer.submit(_trouble_of, change).add_done_callback(written)

    def _ended(self, trouble: str, done: Done) -> None:
        self._store.refresh()
        self._take_over()
        done(trouble)

    def _take_over(self) -> None:
        shown: list[OwnModel] = []
        hidden: dict[str, str] = {}
        for key, record in self._store.records.items():
            base = self._catalogue.served(record.base)
            if self._catalogue.served(record.name.display) is not None:
                hidden[key] = "the settings serve a model of this name"
            elif base is None:
                hidden[key] = f"its base {record.base} is not served"
            else:
                shown.append(_own_model(record, base))
        self._catalogue.replace_virtual(shown)
        for key, why in hidden.items():
            if self._hidden.get(key) != why:
                _log.warning("virtual model %s is hidden: %s", self._store.records[key].name.display, why)
        self._hidden = hidden


def _own_model(record: Record, base: OwnModel) -> OwnModel:
    digest = digest_of(record.name.key, base.digest, record.preset)
    return OwnModel(record.name, digest, base.backend, record.created, record.preset, base.name, record.parent)


def _trouble_of(change: Callable[[], None]) -> str:
    try:
        change()
    except StoreError as error:
        return str(error)
    return ""
