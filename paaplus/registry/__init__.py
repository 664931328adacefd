"""MLflow as the shop window: rounds, releases and thin user rows.

The ledger in the store is the truth. This package is the only door to MLflow, and importing it does
not import MLflow (2.5 s): that waits for the first call. `plugin` and `pyfunc` are imported by
MLflow itself.
"""

from paaplus.registry.client import Registry
from paaplus.registry.mirror import Difference

__all__ = ["Difference", "Registry"]
