"""The outside world that adapters need: an engine that generates and takes LoRA adapters at run time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from preference.ports import TextGenerator
from store.message import Message


class AdapterList(Protocol):
    """Whoever knows which adapters can be named."""

    async def loaded(self) -> set[str]:
        """The names that requests may use now, without the base model's."""
        ...


class AdapterHost(TextGenerator, AdapterList, Protocol):
    """An engine with named LoRA adapters. Every call raises ``EngineUnavailable`` or ``EngineRejected``.

    A name stands for one set of weights at one path for as long as the engine runs: the engine keys its prefix cache
    by both, so new weights always come under a new path and, once published, a new name.
    """

    async def nll(self, messages: Sequence[Message], answer: str, *, model: str | None = None) -> float:
        """Negative log-likelihood of ``answer`` to ``messages``, its end included: the mean in nats a token."""
        ...

    async def load(self, name: str, path: Path) -> None:
        """Load the adapter in directory ``path``; returns when requests may name it. A second time does nothing."""
        ...

    async def unload(self, name: str) -> None:
        """Forget the adapter; a name that is not loaded is no error."""
        ...

    async def purge(self, chosen: Callable[[str], bool]) -> None:
        """Forget every adapter whose name is ``chosen``, whoever loaded it; raises unless that is certain."""
        ...
