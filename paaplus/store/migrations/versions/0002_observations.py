"""All kinds of feedback are numbered as observations, and can be taken back.

Feedback that came before is numbered anew in its order; comments are read by the default analyser. Heads
are dropped: they are trained again from the first observation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op

from paaplus.comments import open_analyser
from paaplus.errors import PaaplusError, StoreVersionError
from paaplus.events import ATTRIBUTES, Retraction, decode_feedback
from paaplus.observations import observe

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COUNT = sa.Integer()


def upgrade() -> None:
    """Add the columns and fill them."""
    with op.batch_alter_table("feedback") as batch:
        batch.alter_column("rating_no", new_column_name="number")
        batch.add_column(sa.Column("channel", sa.Text(), nullable=True))
        batch.add_column(sa.Column("detail", sa.Text(), nullable=True))
        batch.add_column(sa.Column("retracted_by", sa.Integer(), nullable=True))
    for table, names in (
        ("app_user", ("observations", "retracted")),
        ("head_state", ("retracted",)),
        ("champion", ("retracted",)),
        ("ledger", ("retracted",)),
    ):
        with op.batch_alter_table(table) as batch:
            for name in names:
                batch.add_column(sa.Column(name, COUNT, nullable=False, server_default="0"))
        with op.batch_alter_table(table) as batch:
            for name in names:
                batch.alter_column(name, existing_type=COUNT, server_default=None)
    op.execute("DELETE FROM head_state")
    with op.batch_alter_table("head_state") as batch:
        batch.add_column(sa.Column("served", COUNT, nullable=False))
        for name in ("error", "usual", "spread"):
            batch.add_column(sa.Column(name, sa.Float(), nullable=True))
    _number()


def _number() -> None:
    connection, analyser = op.get_bind(), open_analyser()
    names = ("id", "event_id", "user_id", "seq", "kind", "number", "held_out", "body")
    table = sa.table("feedback", *map(sa.column, (*names, "channel", "detail", "retracted_by")),
                     *map(sa.column, ATTRIBUTES))  # fmt: skip
    rows = connection.execute(
        sa.select(*(table.c[name] for name in names)).order_by(table.c.user_id, table.c.seq)
    )
    numbers: Counter[str] = Counter()
    places: dict[bytes, tuple[str, int]] = {}
    former: defaultdict[str, list[bytes]] = defaultdict(list)
    changes: list[dict[str, Any]] = []
    taken: dict[bytes, int] = {}
    for row in rows.mappings().all():
        event = decode_feedback(row["body"])
        try:
            found = observe(event, analyser)
        except PaaplusError:
            found = None
        change = {
            "row": row["id"], "new": None,
            "channel": found and found.channel, "detail": found and found.detail,
        } | dict(zip(ATTRIBUTES, found.signals if found else (None,) * 3, strict=True))  # fmt: skip
        user_id = row["user_id"]
        if found is not None and not row["held_out"]:
            numbers[user_id] += 1
            change["new"] = numbers[user_id]
        changes.append(change)
        places[row["event_id"]] = user_id, row["id"]
        if isinstance(event, Retraction):
            owner, _ = places.get(event.retracts.bytes, ("", 0))
            if owner == user_id:
                taken.setdefault(event.retracts.bytes, row["seq"])
        if row["kind"] == "survey":
            for event_id in former.pop(user_id, []):
                taken.setdefault(event_id, row["seq"])
            former[user_id].append(row["event_id"])
    if not changes:
        return
    connection.execute(
        sa.update(table).values(number=None)
    )  # numbers move: no two alike on the way
    new: dict[str, Any] = {"number": sa.bindparam("new"), "channel": sa.bindparam("channel"),
           "detail": sa.bindparam("detail")} | {a: sa.bindparam(a) for a in ATTRIBUTES}  # fmt: skip
    connection.execute(
        sa.update(table).where(table.c.id == sa.bindparam("row")).values(**new), changes
    )
    user = sa.table(
        "app_user", *map(sa.column, ("user_id", "observations", "retracted", "ratings"))
    )
    numbered = {change["row"]: change for change in changes}
    for event_id, by in taken.items():
        user_id, row_id = places[event_id]
        connection.execute(sa.update(table).where(table.c.id == row_id).values(retracted_by=by))
        if numbered[row_id]["new"] is not None:
            rated = int(numbered[row_id]["channel"] == "rating")
            connection.execute(
                sa.update(user)
                .where(user.c.user_id == user_id)
                .values(retracted=user.c.retracted + 1, ratings=user.c.ratings - rated)
            )
    if numbers:
        connection.execute(
            sa.update(user)
            .where(user.c.user_id == sa.bindparam("who"))
            .values(observations=sa.bindparam("count")),
            [{"who": user_id, "count": count} for user_id, count in numbers.items()],
        )


def downgrade() -> None:
    """Refused: ratings could be numbered again, but what was taken back would come back.

    Raises:
        StoreVersionError: Always.
    """
    raise StoreVersionError(
        "store: schema 0002 does not go back to 0001", "restore the backup from before the upgrade"
    )
