"""Contract of analysers: ranges, languages, hostile text, plug-ins."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import EntryPoint, EntryPoints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.comments import Opinion, open_analyser, plugins
from paaplus.comments.clauses import read_clauses
from paaplus.comments.scan import Scanner
from paaplus.errors import CommentError, ConfigError

ANALYSER = open_analyser()
SCANNER = Scanner()
HOSTILE = [
    "",
    "!" * 10_000,
    "not " * 2_500,
    "good " * 2_000,
    "太" * 10_000,
    "不好" * 5_000,
    "posture and " * 833,
    "not her slouch " * 666,
    "😍" * 10_000,
    "👩‍❤️‍💋‍👩🏽" * 1_000,
    ":-(" * 3_333,
    ":" + "(" * 9_999,
    "a\u0301\u0316" * 3_333,
    "\ufdfa" * 10_000,
    "\x00\x07\u202e\u200b\ufeff",
    "\ud800" * 100,
    "1234567890 ... ???",
]
ENGLISH = ["too", "not", "great", "ugly", "skinny", "posture", "and", "but", "not her", ",", "."]
CHINESE = ["太", "不", "很", "瘦", "好看", "站姿", "但", "。", "😍"]
PIECES = st.sampled_from([*ENGLISH, *CHINESE])
TEXTS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=60).map(" ".join))


def values(opinion: Opinion) -> list[float]:
    return [value for value in asdict(opinion).values() if value is not None]


@given(TEXTS, st.sampled_from([None, "en", "zh-Hant", "und"]))
def test_range_and_determinism(text: str, language: str | None) -> None:
    opinion = ANALYSER.analyse(text, language)
    assert all(math.isfinite(value) and -1 <= value <= 1 for value in values(opinion))
    assert open_analyser().analyse(text, language) == opinion


@given(TEXTS)
def test_no_more_words_than_characters(text: str) -> None:
    # What follows is one pass over the words, each of which costs a bounded number of look-ups; an emoji
    # is three of them, and one character may be normalised to 18.
    words = SCANNER.words(text)
    assert len(words) <= 3 * 18 * len(text)
    assert sum(map(len, read_clauses(words))) <= len(words) + 1


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_has_a_finite_opinion(text: str) -> None:
    assert all(math.isfinite(value) for value in values(ANALYSER.analyse(text)))


def test_marks_and_widths_do_not_hide_words() -> None:
    plain = ANALYSER.analyse("great posture!")
    assert plain.posture is not None
    wide = "".join(chr(ord(c) + 0xFEE0) if c != " " else "\u3000" for c in "great posture!")
    for text in (wide, "g\u200breat p\u0336osture!", "GREAT POSTURE!"):
        assert ANALYSER.analyse(text) == plain


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("great posture", "de"),
        ("身材很好", "ja-JP"),
        ("schöne Haltung", "de"),
        ("スタイルが美しい", None),
        ("красивая осанка", None),
        ("자세가 좋다", None),
        ("", None),
        ("12:30 / 5", "en"),
    ],
)
def test_never_a_guess(text: str, language: str | None) -> None:
    assert ANALYSER.analyse(text, language) == Opinion()


def test_another_process_says_the_same_and_loads_vader_late() -> None:
    script = """
import json, sys
from dataclasses import asdict
from paaplus.comments import open_analyser
analyser = open_analyser()
analyser.analyse("身材很好")
early = "vaderSentiment" in sys.modules
print(json.dumps([early, asdict(analyser.analyse(sys.argv[1]))]))
"""
    text = "beautiful face and healthy skin 😍, not her slouch; 姿势和身材都很好"
    run = subprocess.run([sys.executable, "-c", script, text], capture_output=True, check=True)
    assert json.loads(run.stdout) == [False, asdict(ANALYSER.analyse(text))]


class Answering:
    """A plug-in that answers what it was told to."""

    name = "answering-1"
    answer: object = Opinion(health=0.5)

    def analyse(self, text: str, language: str | None = None) -> Opinion:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]


def broken() -> None:
    raise RuntimeError("no weights")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = {"ours": "Answering", "dull": "broken", "gone": "NoSuchName", "lexicon": "broken"}
    twice = [("twice", "Answering"), ("twice", "broken")]
    found = [
        EntryPoint(name, f"{__name__}:{value}", plugins.GROUP)
        for name, value in [*offers.items(), *twice]
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints(found))


@pytest.mark.usefixtures("installed")
def test_an_installed_analyser_is_opened_by_name() -> None:
    analyser = open_analyser("ours")
    assert analyser.name == "answering-1"
    assert analyser.analyse("whatever") == Opinion(health=0.5)


@pytest.mark.usefixtures("installed")
def test_nobody_shadows_the_default() -> None:
    assert open_analyser("lexicon").name == ANALYSER.name == "lexicon-1"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("os:getcwd", "choose one of .*'lexicon', 'ours'"),
        ("", "unknown"),
        ("dull", "RuntimeError: no weights"),
        ("gone", "AttributeError"),
        ("twice", "2 entry points"),
    ],
)
def test_what_cannot_be_opened_says_why(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        open_analyser(name)
    assert error.value.remedy


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (KeyError("token"), "raised KeyError"),
        (None, "answered a NoneType"),
        (Opinion(health=1.01), "health = 1.01"),
        (Opinion(posture=math.nan), "posture = nan"),
        (Opinion(overall="good"), "overall = 'good'"),  # type: ignore[arg-type]
    ],
)
def test_an_analyser_is_held_to_its_contract(
    monkeypatch: pytest.MonkeyPatch, installed: None, answer: object, says: str
) -> None:
    monkeypatch.setattr(Answering, "answer", answer)
    with pytest.raises(CommentError, match=says) as error:
        open_analyser("ours").analyse("nice")
    assert "answering-1" in str(error.value)
    assert error.value.remedy
