"""The progress of a run: all rounds with their pace, and those of each arm."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lab.prelude.play import Chain


class Board:
    """``played`` says how many of the ``rounds`` of each chain are done already. Use it as a context manager."""

    def __init__(self, console: Console, rounds: int, played: Mapping[Chain, int]) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[pace]}"), console=console,
        )  # fmt: skip
        self._done = 0
        self._began = time.monotonic()
        self._all = self._bars.add_task(
            "all rounds", total=rounds * len(played), completed=sum(played.values()), pace=""
        )
        self._arms = self._of_arms(rounds, played)

    def __enter__(self) -> "Board":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def advance(self, chain: Chain) -> None:
        """A round was played."""
        self._done += 1
        pace = self._done / max(time.monotonic() - self._began, 1e-3)
        self._bars.update(self._all, advance=1, pace=f"{pace:.1f} rounds/s")
        self._bars.advance(self._arms[chain.arm])

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(text)

    def _of_arms(self, rounds: int, played: Mapping[Chain, int]) -> dict[str, TaskID]:
        chains = Counter(chain.arm for chain in played)
        return {
            arm: self._bars.add_task(arm, total=rounds * number, completed=_done(arm, played.items()), pace="")
            for arm, number in chains.items()
        }


def _done(arm: str, played: Iterable[tuple[Chain, int]]) -> int:
    return sum(rounds for chain, rounds in played if chain.arm == arm)
