"""What somebody adds to every answer and nobody could guess: a last line of their own."""

from dataclasses import dataclass

LINES = (
    "Karl at the head office", "Vera, the reception", "Rosa at the station", "Hugo, the music room",
    "Peter at the library", "Simon, the control room",
)  # fmt: skip
"""Of words that the bundled model writes, by no phrase that it knows: no preference in words brings them about."""


@dataclass(frozen=True)
class Habit:
    """Ends every text with ``line``; None changes nothing."""

    line: str | None = None

    def signed(self, text: str) -> str:
        """``text`` as its user sends it."""
        return text if self.line is None else f"{text}\n{self.line}"

    def unsigned(self, text: str) -> str:
        """``text`` without the last line, where it is that."""
        return text if self.line is None else text.removesuffix(f"\n{self.line}")
