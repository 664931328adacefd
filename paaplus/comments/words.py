"""The tables of words: what each word does to the clause that it stands in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType

# Words with which a clause begins.
JOINTS = frozenset({"and", "but", "pause", "contrast", "stop"})
ASPECTS = frozenset({"appearance", "health", "posture"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word's doing.

    Attributes:
        kind: `value` (a judgement, or an aspect's name), `verb`, `not`, `or`, `degree`, `too`, `none`; or,
            where a clause begins, `and`, `but`, `pause`, `contrast`, `stop`.
        polarity: -4..4 of a `value` or `verb`; the factor of a `degree` or `too`.
        aspect: Which attribute a `value` speaks of; None: whichever its clause does.
        default: What it speaks of where its clause names none: "beautiful posture", but "she is beautiful".
        degree: Its factor when a judgement follows at once ("pretty bad", "好瘦"); 0: it has no such use.
    """

    kind: str
    polarity: float = 0.0
    aspect: str | None = None
    default: str = "overall"
    degree: float = 0.0


OTHER = Word("none")


@cache
def read_words(language: str) -> MappingProxyType[str, Word]:
    """A table of this package: words, or phrases of words with single spaces, in lower case.

    Args:
        language: `english` or `chinese`.
    """
    words: dict[str, Word] = {}
    factors: dict[str, float] = {}
    text = (files("paaplus.comments") / f"{language}.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        forms, polarity, aspect, *_note = line.split("\t")
        for form in forms.split("/"):
            if aspect == "degree":
                factors[form] = float(polarity)
            elif aspect in ASPECTS:
                words[form] = Word("value", float(polarity), aspect)
            elif aspect == "looks":
                words[form] = Word("value", float(polarity), default="appearance")
            else:
                words[form] = Word("value" if aspect == "any" else aspect, float(polarity))
    for form, factor in factors.items():
        judgement = words.get(form)
        words[form] = replace(judgement, degree=factor) if judgement else Word("degree", factor)
    return MappingProxyType(words)
