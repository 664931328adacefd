"""Records of promotion: a release, a move of a champion, a champion, and what the gate wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Release:
    """One round of one cohort: a pack of challengers and what the gate said of them.

    Attributes:
        number: 1, 2, 3, … over the whole store.
        cohort: Name of the cohort, e.g. `c0000`.
        pack: sha256 of the pack that holds the heads.
        population: Version of the population model under the heads.
        strategy: Name of the strategy that trained them.
        created_at: When the round was written, with zone.
        users: Users in the round; `promoted` of them were promoted.
        figures: Means over the round's users, e.g. `heldout_mae_challenger`.
        mirrored: Whether MLflow has it.
    """

    number: int
    cohort: str
    pack: str
    population: str
    strategy: str
    created_at: datetime
    users: int
    promoted: int
    figures: dict[str, float] = field(default_factory=dict)
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One move of one user's champion pointer.

    Attributes:
        id: Position in the ledger, rising.
        release: Number of the release that the head came from.
        user_id: Whose champion moved.
        version: The user's head version (1, 2, 3, …) that is champion from here on.
        pack: sha256 of its pack, and `row` its row there.
        row: See `pack`.
        population: Version of the population model under the head.
        parent: The version that was champion before; None for the first.
        action: `promote` or `rollback`.
        actor: Who did it: `gate` or a person's name.
        reason: Why, in words.
        figures: The numbers that decided.
        at: When, with zone.
        retracted: How many of the user's observations had been taken back when the head was trained.
    """

    id: int
    release: int
    user_id: str
    version: int
    pack: str
    row: int
    population: str
    parent: int | None
    action: str
    actor: str
    reason: str
    figures: dict[str, float]
    at: datetime
    retracted: int = 0


@dataclass(frozen=True, slots=True)
class Champion:
    """The champion pointer of one user; `seq` is what compare-and-swap compares.

    `retracted` is the user's count when the head was trained: below today's, the head has learned what was
    taken back since.
    """

    user_id: str
    version: int
    pack: str
    row: int
    population: str
    seq: int
    retracted: int = 0


@dataclass(frozen=True, slots=True)
class Promotion:
    """What the gate wants: this user's champion becomes row `row` of the release's pack.

    Attributes:
        user_id: Whose.
        row: Row of the pack.
        seen: `Champion.seq` that the gate compared with; 0 if there was no champion.
        reason: Why.
        figures: The numbers that decided.
        retracted: See `Champion`.
    """

    user_id: str
    row: int
    seen: int
    reason: str
    figures: dict[str, float]
    retracted: int = 0
