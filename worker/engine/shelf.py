"""Models kept in memory within a budget; the least recently used leaves first, and never one that is answering or that a person has pinned."""

import gc
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from app.errors import TooLarge
from worker.engine.folders import refuse_changed
from worker.engine.load import Loaded, load, loading, needed_bytes
from worker.engine.starts import MEMORY, Starts

Notice = Mapping[str, Any]
"""What an asker should know of where its answer is made: {"text"} and whatever else the room says."""


class Waits(Exception):
    """There is no room for the model on any device now; somebody else has it. `lacking`: by device, the best first, how many bytes more of it would do."""

    def __init__(self, notice: Notice, lacking: Mapping[str, int]) -> None:
        super().__init__(notice["text"])
        self.notice, self.lacking = notice, lacking


class Room(Protocol):
    """Who shares the devices' memory out among processes. Asked from the shelf's thread."""

    def take(self, key: str, needed: int) -> tuple[str, Notice | None]:
        """The device for a model of so many bytes, and why it is not the usual one. Raises Waits."""

    def give_back(self, keys: Sequence[str]) -> None:
        """These models are in memory no more."""


class OwnRoom:
    """All of one device, for a process that has it to itself."""

    def __init__(self, device: str) -> None:
        self._device = device

    def take(self, key: str, needed: int) -> tuple[str, Notice | None]:
        del key, needed
        return self._device, None

    def give_back(self, keys: Sequence[str]) -> None:
        del keys


class Shelf:
    """Loaded models by key. Used from one thread; `sizes()` may be read from any."""

    def __init__(self, budget_bytes: int, device: str = "auto", room: Room | None = None) -> None:
        self._budget, self._device, self._room = budget_bytes, device, room or OwnRoom(device)
        self._models: dict[str, Loaded] = {}
        """Least recently used first."""
        self._starts: dict[str, Starts] = {}
        self._notices: dict[str, Notice] = {}
        """Of models on another device than the usual one, why."""
        self._fresh: list[str] = []
        """Those that came into memory since `fresh` told of them, oldest first."""
        self.pinned: Collection[str] = ()

    def sizes(self) -> dict[str, int]:
        """Bytes of every model in memory, least recently used first."""
        return {key: model.bytes for key, model in self._models.copy().items()}

    def device(self, key: str) -> str | None:
        """Where a model in memory is."""
        return str(self._models[key].device) if key in self._models else None

    def starts(self, key: str) -> Starts:
        """What a model in memory has read of prompts that others may begin with."""
        if key not in self._starts:
            self._starts[key] = Starts(MEMORY.get(self._models[key].device.type, MEMORY["cpu"]))
        return self._starts[key]

    def any_fresh(self) -> bool:
        return bool(self._fresh)

    def fresh(self) -> Loaded | None:
        """The model that came into memory first of those that this has not told of; none when there is none."""
        return self._models[self._fresh.pop(0)] if self._fresh else None

    def notice(self, key: str) -> Notice | None:
        """Why a model in memory is on another device than the usual one."""
        return self._notices.get(key)

    def take(self, key: str, folder: Path, adapter: Path | None, busy: Collection[str], announce: Callable[[float], None]) -> Loaded | None:
        """The model, loaded if need be (`announce` is told how much of it is, from 0 on). None when it has no room until a busy model is done.

        Raises TooLarge when it would not fit alone, Waits when somebody else has the memory, and Invalid when it cannot be loaded.
        """
        if key in self._notices and key not in busy and self._room.take(key, self._models[key].bytes)[1] is None:
            self._drop([key])  # the usual device is free again
        if key not in self._models:
            needed = needed_bytes(folder, adapter=adapter, device=self._device)
            kept = sum(self._models[other].bytes for other in self.pinned if other in self._models and other not in busy)
            if needed + kept > self._budget:
                taken = f", of which pinned models have {kept / 1e9:.1f} GB" if kept else ""
                raise TooLarge(
                    "model_too_large",
                    f"The model needs {needed / 1e9:.1f} GB; the engine may use {self._budget / 1e9:.1f} GB{taken}.",
                    "Give the engine a larger memory budget, or use a smaller model." if not kept else "Unpin a model, or give the engine a larger budget.",
                )
            if needed + kept + sum(self._models[other].bytes for other in busy) > self._budget:
                return None
            self._make_room(needed, busy)
            refuse_changed(folder, adapter)
            self._load(key, folder, adapter, self._place(key, needed, busy), announce)
        self._models[key] = self._models.pop(key)
        return self._models[key]

    def drop_idle(self, busy: Collection[str], least: Mapping[str, int] | None = None) -> None:
        """Give back the memory of models that are neither busy nor pinned: of all, or of each device until it is so many bytes."""
        leaving, left = list[str](), None if least is None else dict(least)
        for key in self._idle(busy):
            device = str(self._models[key].device)
            if left is None or left.get(device, 0) > 0:
                if left is not None:
                    left[device] -= self._models[key].bytes
                leaving.append(key)
        self._drop(leaving)

    def _idle(self, busy: Collection[str]) -> list[str]:
        return [key for key in self._models if key not in busy and key not in self.pinned]

    def _idle_bytes(self, busy: Collection[str], device: str) -> int:
        return sum(self._models[key].bytes for key in self._idle(busy) if str(self._models[key].device) == device)

    def _place(self, key: str, needed: int, busy: Collection[str]) -> str:
        """Where to load it; what is idle here leaves when that makes the difference."""
        try:
            device, notice = self._room.take(key, needed)
        except Waits as waits:
            enough = [device for device, least in waits.lacking.items() if self._idle_bytes(busy, device) >= least]
            if not enough:
                raise
            self.drop_idle(busy, {enough[0]: waits.lacking[enough[0]]})
            device, notice = self._room.take(key, needed)
        if notice:
            self._notices[key] = notice
        return device

    def _load(self, key: str, folder: Path, adapter: Path | None, device: str, announce: Callable[[float], None]) -> None:
        try:
            announce(0.0)
            with loading(announce):
                self._models[key] = load(folder, adapter=adapter, device=device, answering=True)
            self._fresh.append(key)
        except BaseException:
            self._notices.pop(key, None)
            self._room.give_back([key])
            raise

    def _make_room(self, needed: int, busy: Collection[str]) -> None:
        leaving, held = list[str](), sum(self.sizes().values())
        for key in self._idle(busy):
            if held + needed <= self._budget:
                break
            held -= self._models[key].bytes
            leaving.append(key)
        self._drop(leaving)

    def _drop(self, keys: Sequence[str]) -> None:
        """Whoever calls this holds none of these models: a GPU's allocator gives back only what nothing refers to any more."""
        if not keys:
            return
        for key in keys:
            del self._models[key]
            self._starts.pop(key, None)
            self._notices.pop(key, None)
        self._fresh = [key for key in self._fresh if key not in keys]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._room.give_back(keys)
