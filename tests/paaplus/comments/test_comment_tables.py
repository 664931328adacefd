"""Signs of comments written for the purpose, by the author of the lexicons, who saw them: a guard against
changes, no measurement. What is known to fail is in docs/comments.md.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from paaplus.comments import Opinion, open_analyser
from paaplus.comments.words import ASPECTS, JOINTS, read_words

NAMES = {"a": "appearance", "h": "health", "p": "posture", "o": "overall"}
ANALYSER = open_analyser()


def comments(language: str) -> list[tuple[str, str]]:
    lines = Path(__file__).with_name(f"{language}.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.partition("\t") for line in lines if not line.startswith("#")]
    return [(text, expected) for text, _, expected in rows]


def signs(opinion: Opinion) -> dict[str, str]:
    said = {name: value for name, value in asdict(opinion).items() if value is not None}
    return {n: "+" if v > 0.05 else "-" if v < -0.05 else "0" for n, v in said.items()}


@pytest.mark.parametrize(("text", "expected"), comments("english"))
def test_english(text: str, expected: str) -> None:
    wanted = {NAMES[sign[0]]: sign[1] for sign in expected.split()}
    assert signs(ANALYSER.analyse(text)) == wanted
    assert signs(ANALYSER.analyse(text, "en-GB")) == wanted


@pytest.mark.parametrize(("text", "expected"), comments("chinese"))
def test_chinese(text: str, expected: str) -> None:
    wanted = {NAMES[sign[0]]: sign[1] for sign in expected.split()}
    assert signs(ANALYSER.analyse(text)) == wanted
    assert signs(ANALYSER.analyse(text, "zh-Hans-CN")) == wanted


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_words_are_well_formed_and_named_once(language: str) -> None:
    table = Path(__file__).parents[3] / "paaplus" / "comments" / f"{language}.tsv"
    rows = [r.split("\t") for r in table.read_text(encoding="utf-8").splitlines() if r[0] != "#"]
    kinds = ASPECTS | JOINTS | {"any", "looks", "verb", "not", "or", "degree", "too", "none"}
    assert {aspect for _, _, aspect, *_ in rows} <= kinds
    assert all(-4 <= float(polarity) <= 4 for _, polarity, *_ in rows)
    forms = [
        (form, aspect == "degree") for words, _, aspect, *_ in rows for form in words.split("/")
    ]
    assert sorted({f for f in forms if forms.count(f) > 1}) == []
    assert all(form == form.strip().lower() != "" for form, _ in forms)
    assert max(len(form.split()) for form, _ in forms) <= 5


@pytest.mark.parametrize(
    ("language", "plain", "negated"),
    [("english", "she is {}", "she isn't {}"), ("chinese", "她{}", "她并没有{}")],
)
def test_negation_flips_every_judgement(language: str, plain: str, negated: str) -> None:
    judgements = [
        word
        for word, doing in read_words(language).items()
        if doing.polarity and doing.kind in {"value", "verb"}
    ]
    assert len(judgements) > 200
    flip = {"+": "-", "-": "+"}
    wrong = []
    for word in judgements:
        says = signs(ANALYSER.analyse(plain.format(word)))
        unsays = signs(ANALYSER.analyse(negated.format(word)))
        if len(says) != 1 or unsays != {name: flip[sign] for name, sign in says.items()}:
            wrong.append((word, says, unsays))
    assert wrong == []
