"""Words to clauses: who negates what, and which aspect a judgement is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from paaplus.comments.words import JOINTS, Word

# A negation turns a judgement and weakens it ("not great" is no "awful"); VADER's factor.
_NEGATION = -0.74
# How many other words a negation reaches over: "I don't think she really looks healthy".
_REACH = 5
# What "too" makes of a word that only describes a build, as polarity on the scale -4..4.
_BUILD, _FAULT = 1.0, -2.0
_STRONGEST = 2.0


@dataclass(slots=True)
class Clause:
    """A piece of a sentence, with one thing to say as a rule.

    Attributes:
        joined: How it hangs on the clause before, one of `JOINTS`; `stop`: it begins a sentence.
        topics: The aspects it names.
        own: Judgements whose words name their aspect, summed per aspect.
        general: Judgements of whatever the clause is about, summed; None: there are none.
        default: What they are about if it names no aspect.
    """

    joined: str
    topics: set[str] = field(default_factory=set)
    own: dict[str, float] = field(default_factory=dict)
    general: float | None = None
    default: str = "overall"

    @property
    def judges(self) -> bool:
        """Whether it says how anything is."""
        return self.general is not None or bool(self.own)


def read_clauses(words: list[Word]) -> list[list[Clause]]:
    """Sentences of clauses."""
    sentences: list[list[Clause]] = []
    reader = _Reader("stop")
    sentence: list[Clause] = []
    for word, following in pairwise([*words, Word("stop")]):
        if word.kind not in JOINTS:
            reader.take(word, following)
            continue
        sentence.append(reader.clause)
        if word.kind == "stop":
            sentences.append(sentence)
            sentence = []
        reader = _Reader(word.kind)
    return [*sentences, [*sentence, reader.clause]]


class _Reader:
    """Reads the words of one clause."""

    def __init__(self, joined: str) -> None:
        self.clause = Clause(joined)
        # With nothing before it to turn, "not her best" is a plain negation.
        self._negated = joined == "contrast"
        self._last_negated = False
        self._factor = 1.0
        self._too = False
        self._gap = 0
        self._governed = False

    def take(self, word: Word, following: Word) -> None:
        """Read one word; the one that follows decides between "pretty bad" and "pretty face"."""
        if word.aspect is not None:
            self.clause.topics.add(word.aspect)
        if word.degree and following.kind == "value" and following.polarity:
            self._factor = min(self._factor * word.degree, _STRONGEST)
        elif word.kind in {"degree", "too"}:
            self._factor = min(self._factor * word.polarity, _STRONGEST)
            self._too |= word.kind == "too"
        elif word.kind in {"not", "or"}:
            self._negated = self._last_negated if word.kind == "or" else not self._negated
            self._gap = 0
        elif word.polarity or (self._too and word.aspect is not None):
            self._judge(word)
        else:
            self._pass()

    def _pass(self) -> None:
        self._gap += 1
        if self._gap > 1:
            self._factor, self._too = 1.0, False
        if self._gap > _REACH:
            self._negated = False

    def _judge(self, word: Word) -> None:
        # "I don't like her muscles": what is liked, or not, has no say of its own.
        if not self._governed:
            fault = self._too and word.aspect is not None and abs(word.polarity) <= _BUILD
            polarity = (_FAULT if fault else word.polarity) * self._factor
            self._add(word, polarity * _NEGATION if self._negated else polarity)
        self._governed |= word.kind == "verb"
        self._last_negated, self._negated = self._negated, False
        self._factor, self._too, self._gap = 1.0, False, 0

    def _add(self, word: Word, polarity: float) -> None:
        own = self.clause.own
        if word.aspect is not None:
            own[word.aspect] = own.get(word.aspect, 0.0) + polarity
            return
        self.clause.general = (self.clause.general or 0.0) + polarity
        if word.default != "overall":
            self.clause.default = word.default


def spread_topics(sentence: list[Clause]) -> None:
    """Give clauses that only name an aspect to the judgement they belong to, in place.

    "Her posture and face are great": to the next. "I love her face, skin and posture": to the last.
    "I like her face, not her slouch": to the last, turned.
    """
    last: Clause | None = None  # the last one that judges
    for clause, following in pairwise([*sentence, Clause("stop")]):
        if clause.joined == "contrast" and last is not None:
            clause.own, clause.general = {}, _NEGATION * _sum(last)
        if clause.judges:
            last = clause
            continue
        judged_next = following.joined == "and" and following.general is not None
        if last is None or judged_next:
            following.topics |= clause.topics
        elif last.general is not None and clause.joined in {"and", "pause"}:
            last.topics |= clause.topics


def _sum(clause: Clause) -> float:
    return (clause.general or 0.0) + sum(clause.own.values())


def votes(clauses: Iterable[Clause]) -> dict[str, list[float]]:
    """What clauses say per aspect, and `overall`, each on the scale of a word, unbounded."""
    found: dict[str, list[float]] = {}
    for clause in clauses:
        said = dict(clause.own)
        if clause.general is not None:
            for topic in sorted(clause.topics) or [clause.default]:
                said[topic] = said.get(topic, 0.0) + clause.general
        for topic, value in said.items():
            found.setdefault(topic, []).append(value)
    return found
