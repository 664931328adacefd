"""Text to words: English by VADER's lexicon and our table, Chinese by the longest match in ours.

Every step looks at each character a bounded number of times, so that no text takes more than linear time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from paaplus.comments.words import OTHER, Word, read_words

if TYPE_CHECKING:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

# Kana: the text is Japanese, whose Chinese characters say other things.
_KANA = re.compile(r"[\u3040-\u30ff]")
# "good-looking" is looked up as "good looking".
_HYPHEN = re.compile(r"(?<=[A-Za-z])-(?=[A-Za-z])")
_REPEATED = re.compile(r"(.)\1{2,}", re.DOTALL)
_PIECE = re.compile(
    r"""(?P<han>[\u3400-\u4dbf\u4e00-\u9fff]+)
      | (?P<face>[:;=][-'^]?[()\[\]DPp/|*]+(?!\w) | <3)
      | (?P<latin>[A-Za-z\u00c0-\u024f]+(?:'[A-Za-z]+)*)
      | (?P<stop>[.!?;。\n]+)
      | (?P<pause>[,、:()\u2013\u2014]+)
      | (?P<symbol>[^\s\w])
    """,
    re.VERBOSE,
)
_STOP, _PAUSE = Word("stop"), Word("pause")
_LONGEST_PHRASE = 5
# VADER's weakest words ("want", "hard") say nothing about a person.
_WEAKEST = 0.5


def clean(text: str) -> str:
    """Text in which each letter has one spelling, without marks that no lexicon knows.

    Combining marks go first: normalising a long run of them takes quadratic time.
    """
    seen = (
        c
        for c in text
        if c in "\n\t" or unicodedata.category(c) not in {"Mn", "Me", "Cf", "Cc", "Cs"}
    )
    plain = (
        unicodedata.normalize("NFKC", "".join(seen)).replace("\u2019", "'").replace("\u2018", "'")
    )
    return _REPEATED.sub(r"\1\1", _HYPHEN.sub(" ", plain))


class Scanner:
    """Reads text as words; VADER loads with the first English word or emoji."""

    def __init__(self) -> None:
        self._chinese = read_words("chinese")
        self._english = read_words("english")
        self._longest = max(map(len, self._chinese))

    def words(self, text: str) -> list[Word]:
        """The words of a text in order; those that mean nothing to us are `OTHER`."""
        text = clean(text)
        japanese = _KANA.search(text) is not None
        found: list[Word] = []
        phrase: list[str] = []
        for piece in _PIECE.finditer(text):
            if piece.lastgroup == "latin":
                phrase.append(piece.group().lower())
                continue
            found.extend(self._latin(phrase))
            phrase = []
            if piece.lastgroup == "han":
                found.extend([OTHER] if japanese else self._han(piece.group()))
            elif piece.lastgroup == "stop":
                found.append(_STOP)
            elif piece.lastgroup == "pause":
                found.append(_PAUSE)
            else:
                found.extend(self._symbol(piece.group()))
        found.extend(self._latin(phrase))
        return found

    def _han(self, run: str) -> Iterator[Word]:
        start = 0
        while start < len(run):
            for size in range(self._longest, 0, -1):
                word = self._chinese.get(run[start : start + size])
                if word is not None:
                    break
            yield word or OTHER
            start += size

    def _latin(self, run: list[str]) -> Iterator[Word]:
        start = 0
        while start < len(run):
            for size in range(_LONGEST_PHRASE, 1, -1):
                word = self._english.get(" ".join(run[start : start + size]))
                if word is not None:
                    break
            else:
                size, word = 1, self._single(run[start])
            yield word
            start += size

    def _single(self, word: str) -> Word:
        ours = self._english.get(word)
        if ours is not None:
            return ours
        from vaderSentiment.vaderSentiment import BOOSTER_DICT, NEGATE

        if word in NEGATE or word.endswith("n't"):
            return Word("not")
        if word in BOOSTER_DICT:
            return Word("degree", 1.3 if BOOSTER_DICT[word] > 0 else 0.7)
        return self._valued(self._vader.lexicon.get(word, 0.0))

    def _symbol(self, symbol: str) -> Iterator[Word]:
        """Emoticons and emoji: clauses of their own, so that no negation reaches them."""
        word = self._valued(
            self._vader.lexicon.get(symbol.lower(), 0.0)
            # VADER's compound of one emoji, brought back to the scale of words.
            or 4.0 * self._vader.polarity_scores(symbol)["compound"]
        )
        if word.polarity:
            yield from (_PAUSE, word, _PAUSE)

    @staticmethod
    def _valued(polarity: float) -> Word:
        return Word("value", polarity) if abs(polarity) >= _WEAKEST else OTHER

    @cached_property
    def _vader(self) -> SentimentIntensityAnalyzer:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        return SentimentIntensityAnalyzer()
