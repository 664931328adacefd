"""The default analyser: two small lexicons and the grammar of negation, degree and clauses."""

from __future__ import annotations

import math
from functools import cached_property

from paaplus.comments.clauses import read_clauses, spread_topics, votes
from paaplus.comments.opinion import Opinion
from paaplus.comments.scan import Scanner

# `und`: the producer says that it does not know.
_LANGUAGES = frozenset({"en", "zh", "cmn", "und"})
# VADER's: a sum of 4 is .72.
_HALFWAY = 15.0


class LexiconAnalyser:
    """English and Chinese, also mixed; see docs/comments.md for what it gets wrong."""

    name = "lexicon-1"

    def analyse(self, text: str, language: str | None = None) -> Opinion:
        """The opinion in a text; nothing in a language other than English and Chinese.

        Args:
            text: Any text; the time taken is linear in its length.
            language: BCP 47 tag; None: each word's script decides.
        """
        if language is not None and language.split("-")[0].lower() not in _LANGUAGES:
            return Opinion()
        sentences = read_clauses(self._scanner.words(text))
        for sentence in sentences:
            spread_topics(sentence)
        found = votes(clause for sentence in sentences for clause in sentence)
        return Opinion(**{topic: _mean(values) for topic, values in found.items()})

    @cached_property
    def _scanner(self) -> Scanner:
        return Scanner()


def _mean(values: list[float]) -> float:
    return math.fsum(v / math.sqrt(v * v + _HALFWAY) for v in values) / len(values)
