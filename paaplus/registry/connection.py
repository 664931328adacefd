"""The connection to MLflow: opened late, schema made once, every failure a `RegistryError`."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from sqlalchemy import NullPool, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from paaplus.errors import RegistryError
from paaplus.registry.names import experiment_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

ARTIFACTS_TAG = "paaplus.artifacts"
"""Tag of an experiment: where the packs lie. Read by the artifact plugin."""

_SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down is asked again by the next round; a round must not wait minutes for it.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_LOCK_SECONDS = 120


class Connection:
    """A client for one MLflow and the experiment of one fleet.

    The first use sets MLflow's switches for no telemetry, no progress bars and short waits in the
    environment of this process, where they are not set already.

    Args:
        uri: Tracking and registry URI.
        fleet: Prefix of the names.
        artifacts: The artifacts folder; runs go to `mlflow/` in it.
    """

    def __init__(self, uri: str, fleet: str, artifacts: Path) -> None:
        self._uri = uri
        self._artifacts = artifacts.absolute()
        self._experiment = experiment_name(fleet)

    @cached_property
    def client(self) -> MlflowClient:
        """The client, with schema and experiment in place."""
        return self._opened[0]

    @cached_property
    def experiment_id(self) -> str:
        """Id of the fleet's experiment."""
        return self._opened[1]

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn what MLflow raises into a `RegistryError` that says what was being done."""
        _set_switches()
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
            where = re.sub(r"//[^/@]*@", "//***@", self._uri)
            text = re.sub(r"//[^/@\s]*@", "//***@", str(error)).strip() or type(error).__name__
            raise RegistryError(
                f"MLflow at {where}, {doing}: {text.splitlines()[0][:500]}",
                "nothing is lost, the ledger has it and the next round tries again; "
                "check that MLflow is up and `registry.url` is right",
            ) from error

    @cached_property
    def _opened(self) -> tuple[MlflowClient, str]:
        with self.translated("opening it"):
            from mlflow import MlflowClient

            self._artifacts.mkdir(parents=True, exist_ok=True)
            _probe(self._uri)
            # MLflow makes its tables without a lock, the first of them while the client is made:
            # of several processes that open an empty database at the same instant, most fail.
            lock = FileLock(self._artifacts / ".mlflow.lock", timeout=_LOCK_SECONDS)
            with lock, _hushed("mlflow.store.db.utils"):
                _create_sqlite(self._uri)
                client = MlflowClient(self._uri, self._uri)
                client.search_registered_models(max_results=1)
                experiment = self._ensured(client)
        if experiment.lifecycle_stage == "deleted":
            raise RegistryError(
                f"experiment {self._experiment!r} was deleted in MLflow",
                f"restore it: mlflow experiments restore -x {experiment.experiment_id}",
            )
        return client, experiment.experiment_id

    def _ensured(self, client: MlflowClient) -> Experiment:
        root = str(self._artifacts)
        found = client.get_experiment_by_name(self._experiment)
        if found is None:
            # Without a location MLflow writes to ./mlruns of the working directory.
            location = (self._artifacts / "mlflow").as_uri()
            tags = {ARTIFACTS_TAG: root}
            return client.get_experiment(
                client.create_experiment(self._experiment, location, tags=tags)
            )
        if found.lifecycle_stage != "deleted" and found.tags.get(ARTIFACTS_TAG) != root:
            client.set_experiment_tag(found.experiment_id, ARTIFACTS_TAG, root)
        return found


def _probe(uri: str) -> None:
    """Fail at once if a database cannot be reached: MLflow itself tries for 100 seconds."""
    if not uri.startswith(("sqlite", "postgresql", "mysql", "mssql")):
        return
    url = make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        folder = Path(url.database).parent
        folder.mkdir(parents=True, exist_ok=True)
        if not Path(url.database).exists():
            return  # connecting would leave an empty file
    engine = create_engine(url, poolclass=NullPool)
    engine.connect().close()


def _create_sqlite(uri: str) -> None:
    """Make MLflow's tables in a file aside and then rename it.

    It takes a second, and whoever is killed in it would leave a database that no MLflow opens again:
    on SQLite its migrations are not transactional.
    """
    if not uri.startswith("sqlite"):
        return
    database = make_url(uri).database
    if not database or database == ":memory:" or Path(database).exists():
        return
    from mlflow.store.db.utils import _initialize_tables

    aside = Path(f"{database}.new")
    aside.unlink(missing_ok=True)
    engine = create_engine(f"sqlite:///{aside}", poolclass=NullPool)
    try:
        _initialize_tables(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()
    aside.replace(database)


def _set_switches() -> None:
    """Before the first import of MLflow: telemetry starts with it."""
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)


@contextmanager
def _hushed(name: str) -> Iterator[None]:
    """Without the progress notes of a logger."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
