"""What an analyser is, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a comment says: polarity -1..1, None where it does not speak of it.

    Attributes:
        appearance: Of the person's looks.
        health: Of how healthy and fit the person seems.
        posture: Of how the person stands or sits.
        overall: Of nothing in particular: "nice!", "不错".
    """

    appearance: float | None = None
    health: float | None = None
    posture: float | None = None
    overall: float | None = None


class Analyser(Protocol):
    """A pure function of text and language, whichever process runs it.

    Attributes:
        name: E.g. `lexicon-1`; another name whenever its answers change.
    """

    name: str

    def analyse(self, text: str, language: str | None = None) -> Opinion:
        """The opinion in a text.

        Args:
            text: Any text, at most 10,000 characters in an event.
            language: BCP 47 tag; None: unknown.
        """
