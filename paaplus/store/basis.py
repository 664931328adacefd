"""What a live head stands on: it decides which heads go on, and which users are due.

The conditions are SQL, so that nothing is read of users who need nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Join, and_, case

from paaplus.store.tables import app_user, head_state


@dataclass(frozen=True, slots=True)
class Basis:
    """What a state was made with: on another population or strategy it is trained anew.

    So is the head of a user who took something back: training again without it undoes its effect
    exactly, whatever the strategy.

    Attributes:
        population: Version of the population model.
        strategy: Name of the strategy and hash of its settings.
        experience_size: Observations in one experience.
        fewest: Observations below which no user is due; None: an experience.
    """

    population: str
    strategy: str
    experience_size: int
    fewest: int | None = None


def on_basis(basis: Basis) -> ColumnElement[bool]:
    """Whether the state in `head_state` was made with the basis."""
    return and_(
        head_state.c.population == basis.population, head_state.c.strategy == basis.strategy
    )


def is_current(basis: Basis) -> ColumnElement[bool]:
    """Whether the head goes on: it is on the basis, and nothing was taken back since.

    It reads the user's row too, as `is_due` does: select from `users_with_heads`.
    """
    return and_(on_basis(basis), head_state.c.retracted == app_user.c.retracted)


def users_with_heads() -> Join:
    """All users, each with the live head at rest; its columns are null where there is none."""
    return app_user.outerjoin(
        head_state,
        and_(head_state.c.cohort == app_user.c.cohort, head_state.c.user_id == app_user.c.user_id),
    )


def is_due(basis: Basis) -> ColumnElement[bool]:
    """Whether enough observations wait that the head served last has not learned.

    A head that does not go on has learned nothing: all of its user's observations wait.
    """
    waiting = app_user.c.observations - case((is_current(basis), head_state.c.served), else_=0)
    fewest = basis.experience_size if basis.fewest is None else basis.fewest
    return waiting >= max(fewest, 1)
