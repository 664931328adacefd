"""The durable truth: feedback, offsets, items, heads, ledger. SQLAlchemy Core, no vendor SQL."""

from paaplus.store.releases import Champion, LedgerEntry, Release
from paaplus.store.rows import Rows
from paaplus.store.settings import StoreSettings
from paaplus.store.store import Store, open_store

__all__ = [
    "Champion",
    "LedgerEntry",
    "Release",
    "Rows",
    "Store",
    "StoreSettings",
    "open_store",
]
