"""The store: feedback, items, heads and ledger in one database, each behind its own part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from paaplus.errors import StoreError
from paaplus.store.feedback import Feedback
from paaplus.store.heads import HeadStates
from paaplus.store.ingest import Ingest
from paaplus.store.items import Items
from paaplus.store.ledger import Ledger
from paaplus.store.letters import DeadLetters
from paaplus.store.offsets import Offsets
from paaplus.store.populations import Populations
from paaplus.store.schema import make_engine
from paaplus.store.settings import StoreSettings, fix_settings, read_settings


class Store:
    """One database. Use it as a context manager, or call `close`.

    Args:
        engine: From `make_engine`.
        settings: What is fixed for this store.
    """

    def __init__(self, engine: Engine, settings: StoreSettings) -> None:
        self._engine = engine
        self.settings = settings

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; on SQLite it holds the write lock from its first line."""
        with self._translated(), self._engine.connect() as connection:
            writer = connection.execution_options(paaplus_write=True)
            with writer.begin():
                yield writer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """A database that is locked, full or away is a `StoreError`: it may pass."""
        try:
            yield
        except OperationalError as error:
            raise StoreError(
                f"store: {error.orig}", "nothing was written; check the disk or the server"
            ) from error

    @cached_property
    def ingest(self) -> Ingest:
        """Events in, offsets forward."""
        return Ingest(self.settings)

    @cached_property
    def offsets(self) -> Offsets:
        """Where each log's readers stand."""
        return Offsets()

    @cached_property
    def feedback(self) -> Feedback:
        """Ratings out: whole tables for the population, ragged blocks for cohorts."""
        return Feedback()

    @cached_property
    def items(self) -> Items:
        """Items and their features."""
        return Items()

    @cached_property
    def heads(self) -> HeadStates:
        """Live heads, leases and fences."""
        return HeadStates()

    @cached_property
    def ledger(self) -> Ledger:
        """Releases, promotions, champions."""
        return Ledger()

    @cached_property
    def letters(self) -> DeadLetters:
        """What could not be accepted."""
        return DeadLetters()

    @cached_property
    def populations(self) -> Populations:
        """Versions of the population model, and which one is current."""
        return Populations()

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_store(url: str, settings: StoreSettings | None = None) -> Store:
    """Open the store at `url`, making it if there is none.

    Args:
        url: `sqlite:///path` or `postgresql+psycopg://…`.
        settings: Fixed at creation; on an existing store they must agree. None: take what it has.

    Raises:
        ConfigError: A bad URL, or settings that differ from the store's.
        StoreError: The database cannot be opened, or its schema is newer than this code.
    """
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            found = read_settings(connection)
        if found is None or (settings is not None and settings != found):
            with engine.connect() as connection:
                writer = connection.execution_options(paaplus_write=True)
                with writer.begin():
                    found = fix_settings(writer, settings)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, found)
