"""Every error that paaplus raises on purpose, as one tree.

```
PaaplusError
├── ConfigError            (ValueError)       a setting is missing, unknown or contradicts another
│   └── PluginRefusedError                    an Avalanche plugin that is wrong on regression
├── EventError             (ValueError)       bytes that are not an event of the contract
├── CommentError           (ValueError)       an analyser failed on a comment
├── LogError               (OSError)          the event log cannot be used as asked
│   └── LogUnavailableError                   it cannot be reached, or refuses us
├── StoreError             (RuntimeError)     the store cannot be used as asked
│   ├── StoreVersionError                     its schema is not the one of this code
│   └── LeaseLostError                        another worker has taken this cohort over
├── NotFoundError          (LookupError)      a user, item, version or file that is not there
├── NotEnoughDataError     (ValueError)       too little feedback for what was asked
├── PackError              (ValueError)       a model file is damaged, or holds another user's head
├── TrunkError             (ValueError)       an image, or the network that reads it, is unusable
├── RegistryError          (RuntimeError)     MLflow refused, or says something else than the ledger
└── MissingDependencyError (ImportError)      an optional package is needed; the message names it
```

Each is also the standard library's kind of error, so callers may catch either. Every message says what
is wrong, where, and how to mend it; `remedy` holds the last part on its own.
"""

from __future__ import annotations


class PaaplusError(Exception):
    """Root of the tree.

    Args:
        message: What is wrong and where.
        remedy: What the reader can do about it; appended to the message.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n  remedy: {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


class ConfigError(PaaplusError, ValueError):
    """A setting is missing, unknown, out of range or contradicts another one."""


class PluginRefusedError(ConfigError):
    """An Avalanche plugin that is broken or silently wrong on regression was asked for."""


class EventError(PaaplusError, ValueError):
    """Bytes that are not an event of the contract.

    Args:
        reason: Short machine-readable code, e.g. `invalid_json`; the dead letter's `reason`.
        field: JSON path of the field at fault, e.g. `$.scores.health`; `$` for the whole.
        message: What is wrong with it.
        remedy: How the producer mends it.
    """

    def __init__(self, reason: str, field: str, message: str, remedy: str) -> None:
        super().__init__(f"{field}: {message}", remedy)
        self.reason = reason
        self.field = field


class CommentError(PaaplusError, ValueError):
    """An analyser raised on a comment, or answered something that is no opinion."""


class LogError(PaaplusError, OSError):
    """The event log cannot be used as asked."""


class LogUnavailableError(LogError):
    """The event log cannot be reached, or refuses us."""


class StoreError(PaaplusError, RuntimeError):
    """The store cannot be used as asked."""


class StoreVersionError(StoreError):
    """The store's schema is not the one that this code was written for."""


class LeaseLostError(StoreError):
    """Another worker holds the cohort now; nothing was written."""


class NotFoundError(PaaplusError, LookupError):
    """A user, item, version or file that is not there."""


class NotEnoughDataError(PaaplusError, ValueError):
    """Too little feedback for what was asked."""


class PackError(PaaplusError, ValueError):
    """A model file is damaged, or the row asked for belongs to another user."""


class TrunkError(PaaplusError, ValueError):
    """An image, or the network that reads it, is unusable."""


class RegistryError(PaaplusError, RuntimeError):
    """MLflow refused, or says something else than the ledger."""


class MissingDependencyError(PaaplusError, ImportError):
    """An optional package is needed; the message names the one to install."""
