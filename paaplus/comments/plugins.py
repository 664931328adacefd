"""Analysers by name: our own, and those that installed packages offer as entry points.

A package offers one in its pyproject.toml; the right side is called without arguments:

```toml
[project.entry-points."paaplus.comments"]
llm = "acme_comments:LanguageModelAnalyser"
```
"""

from __future__ import annotations

from dataclasses import fields
from importlib.metadata import entry_points

from paaplus.comments.lexicon import LexiconAnalyser
from paaplus.comments.opinion import Analyser, Opinion
from paaplus.errors import CommentError, ConfigError

GROUP = "paaplus.comments"
OURS = "lexicon"


class CheckedAnalyser:
    """An analyser that is held to its contract.

    Args:
        inner: The analyser; its name is kept.
    """

    def __init__(self, inner: Analyser) -> None:
        self.name = inner.name
        self._inner = inner

    def analyse(self, text: str, language: str | None = None) -> Opinion:
        """The inner analyser's opinion.

        Raises:
            CommentError: It raised, or answered something else than an `Opinion` within -1..1.
        """
        try:
            opinion = self._inner.analyse(text, language)
        except Exception as error:
            raise self._fault(f"raised {type(error).__name__}: {error}") from error
        if not isinstance(opinion, Opinion):
            raise self._fault(f"answered a {type(opinion).__name__} instead of an Opinion")
        for field in fields(opinion):
            value = getattr(opinion, field.name)
            # Written so that NaN fails too.
            if value is not None and not (isinstance(value, float | int) and -1 <= value <= 1):
                raise self._fault(
                    f"answered {field.name} = {value!r}, which is no number within -1..1"
                )
        return opinion

    def _fault(self, what: str) -> CommentError:
        return CommentError(
            f"the comment analyser {self.name} {what}",
            "mend or update the package that offers it, then replay the event",
        )


def open_analyser(name: str = OURS) -> Analyser:
    """An analyser, held to its contract.

    Args:
        name: `lexicon`, or the name of an installed entry point of the group `paaplus.comments`. Never
            a module path: settings cannot make us import what nobody installed for the purpose.

    Raises:
        ConfigError: Nobody or more than one offers the name, or the one who does cannot be opened.
    """
    if name == OURS:
        return CheckedAnalyser(LexiconAnalyser())
    offers = entry_points(group=GROUP)
    found = offers.select(name=name)
    if not found:
        raise ConfigError(
            f"comment analyser {name!r} is unknown",
            f"choose one of {sorted({OURS, *offers.names})}, or install a package that offers it"
            f" as an entry point of the group {GROUP}",
        )
    if len(found) > 1:
        raise ConfigError(
            f"comment analyser {name!r} is offered by {len(found)} entry points:"
            f" {sorted(offer.value for offer in found)}",
            "uninstall all but one of the packages that offer it",
        )
    (offer,) = found
    try:
        return CheckedAnalyser(offer.load()())
    except Exception as error:
        raise ConfigError(
            f"comment analyser {name!r} ({offer.value}) cannot be opened:"
            f" {type(error).__name__}: {error}",
            "mend or update the package that offers it, or choose `analyser: lexicon`",
        ) from error
