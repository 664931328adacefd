"""Opens the store's database and brings its schema up to date, once, whoever comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from paaplus.errors import ConfigError, StoreError, StoreVersionError
from paaplus.store.tables import REVISION

BUSY_TIMEOUT_MS = 60_000
"""How long a SQLite writer waits for another one; a transaction takes well under a second."""


def make_engine(url: str) -> Engine:
    """An engine for `sqlite:///path` or `postgresql+psycopg://…`, with its schema at `REVISION`.

    Raises:
        ConfigError: The URL is not one of a database that the store runs on.
        StoreError: The database cannot be opened.
        StoreVersionError: The schema is newer than this code.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"store: {error}", "write it as sqlite:///path/to/store.db") from error
    if parsed.get_backend_name() == "sqlite":
        engine = _sqlite_engine(parsed)
    elif parsed.get_backend_name() == "postgresql":
        engine = create_engine(parsed, pool_pre_ping=True)
    else:
        raise ConfigError(
            f"store: no support for {parsed.get_backend_name()!r}",
            "use sqlite:///path or postgresql+psycopg://user@host/database",
        )
    try:
        _upgrade(engine)
    except DatabaseError as error:
        raise StoreError(
            f"store {parsed.render_as_string(hide_password=True)}: {error.orig}",
            "check that the folder exists and is writable, or that the server answers",
        ) from error
    return engine


def _sqlite_engine(url: URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise ConfigError("store: an in-memory SQLite cannot survive a crash", "give it a file")
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, see below
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",  # a committed round survives a power cut; costs nothing in batches
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock before its first read: the read is then the truth it acts on.
        write = connection.get_execution_options().get("paaplus_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _upgrade(engine: Engine) -> None:
    if _revision(engine) == REVISION:  # the common case, without importing Alembic
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.connect().execution_options(paaplus_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7221071)"))
        known = _revision_on(connection)
        if known is not None and known > REVISION:
            raise StoreVersionError(
                f"store: its schema is {known}, this code knows up to {REVISION}",
                "install the paaplus version that wrote it, or a newer one",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return _revision_on(connection)


def _revision_on(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)
