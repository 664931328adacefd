"""What paaplus tells MLflow: a run per round, a version per release, a thin row per promoted user.

Every method may be called again with the same arguments, after a crash or a time-out, and changes
nothing the second time. Call them in the order of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from paaplus import __version__
from paaplus.packs import open_pack
from paaplus.registry.connection import Connection
from paaplus.registry.mirror import Difference, difference, mirror_entry, offer_rows
from paaplus.registry.names import PackAddress, release_model
from paaplus.registry.versions import create_version, ensure_model, find_version, versions_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from paaplus.store import Champion, LedgerEntry, Release

RESULTS = "users.parquet"
"""Name of the run's artifact with the results of each user."""

UserRows = Literal["all", "promoted", "off"]
"""Who gets a registered model: everyone who was trained, who was promoted, or nobody."""


class Registry:
    """One fleet's models in one MLflow. Opens the connection at the first call.

    Args:
        uri: Tracking and registry URI: `sqlite:///…`, `postgresql+psycopg://…` or `http://…`.
        fleet: Prefix of the model names, 1 to 64 of A-Z a-z 0-9 _ -.
        artifacts: The artifacts folder, with `packs/` and `populations/`.
        user_rows: Who gets a registered model. `all` costs a few milliseconds for each user of each
            round, `promoted` for each promotion.

    Raises:
        RegistryError: A fleet that cannot be part of a name; from every method also that MLflow
            cannot be reached or refuses. Training goes on without it.
    """

    def __init__(self, uri: str, *, fleet: str, artifacts: Path, user_rows: UserRows) -> None:
        self._connection = Connection(uri, fleet, artifacts)
        self._fleet = fleet
        self._artifacts = artifacts
        self._user_rows = user_rows
        self._last_run: tuple[tuple[int, str], str] = (0, ""), ""

    def log_round(self, release: Release, results: DataFrame, figures: Mapping[str, float]) -> str:
        """Write the run of a round: figures as metrics, results of each user as Parquet.

        Args:
            release: The round. Its number and pack identify the run.
            results: One row per user, any columns. Goes to the artifact only: user ids do not
                belong into tags or parameters, from where they are hard to erase.
            figures: Metrics of the whole round; their step is the release number.

        Returns:
            Id of the run.
        """
        moment = round(release.created_at.timestamp() * 1000)
        with self._connection.translated(f"logging round {release.number}"):
            from mlflow.entities import Metric, RunStatus

            client = self._connection.client
            run_id, finished = self._find_run(release.number, release.pack)
            if finished:
                return run_id
            if not run_id:
                name = f"release-{release.number}-{release.cohort}"
                run = client.create_run(
                    self._connection.experiment_id, moment, _tags(release), run_name=name
                )
                run_id = run.info.run_id
            metrics = {"users": release.users, "promoted": release.promoted} | dict(figures)
            # The same time stamp in a retry: MLflow keeps one of equal metric rows.
            client.log_batch(
                run_id, [Metric(k, float(v), moment, release.number) for k, v in metrics.items()]
            )
            with TemporaryDirectory() as folder:
                path = Path(folder, RESULTS)
                results.to_parquet(path, index=False)
                client.log_artifact(run_id, str(path))
            client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))
        return run_id

    def register_release(self, release: Release, run_id: str | None) -> str:
        """Register a release as a version of its cohort's model and point the aliases.

        `challenger` is the newest release, `champion` the newest that promoted anybody, `previous`
        the one before that.

        Returns:
            MLflow's version number.
        """
        name = release_model(self._fleet, release.cohort)
        source = str(PackAddress(release.pack))
        with self._connection.translated(f"registering release {release.number}"):
            client = self._connection.client
            fresh = ensure_model(client, name, {"paaplus.cohort": release.cohort})
            known = [] if fresh else versions_of(client, name)
            found = find_version(known, source, "paaplus.release", release.number)
            if found is None:
                found = create_version(client, name, source, run_id, _tags(release))
                known.append(found)
            ours = sorted(
                (v for v in known if v.tags.get("paaplus.release", "").isdecimal()),
                key=lambda v: (int(v.tags["paaplus.release"]), int(v.version)),
            )
            winners = [v for v in ours if int(v.tags.get("paaplus.promoted", "0"))]
            if len(winners) > 1:
                client.set_registered_model_alias(name, "previous", winners[-2].version)
            client.set_registered_model_alias(name, "challenger", ours[-1].version)
            if winners:
                client.set_registered_model_alias(name, "champion", winners[-1].version)
            if self._user_rows == "all":
                pack = open_pack(self._artifacts, release.pack)
                offer_rows(client, self._fleet, pack, release, run_id)
        return str(found.version)

    def mirror(self, entry: LedgerEntry, run_id: str | None = None) -> None:
        """Show one move of a user's champion: the row of that version becomes `champion`.

        Args:
            entry: A promotion or a rollback.
            run_id: Run of the release that the head came from; None: look it up.
        """
        if self._user_rows == "off":
            return
        with self._connection.translated(f"mirroring ledger entry {entry.id}"):
            run_id = run_id or self._run_of(entry)
            mirror_entry(self._connection.client, self._fleet, entry, run_id)

    def reconcile(self, champions: Iterable[Champion]) -> list[Difference]:
        """Compare the ledger's champions with MLflow's; one read per user.

        Returns:
            Where they differ. The ledger is right; `mirror` of the user's last entry mends it.
        """
        if self._user_rows == "off":
            return []
        with self._connection.translated("comparing champions"):
            client = self._connection.client
            found = (difference(client, self._fleet, champion) for champion in champions)
            return [one for one in found if one is not None]

    def _run_of(self, entry: LedgerEntry) -> str | None:
        """Run of the entry's release; the last one is remembered, entries come in their order."""
        of, run_id = self._last_run
        if of != (entry.release, entry.pack) or not run_id:
            run_id, _ = self._find_run(entry.release, entry.pack)
            self._last_run = (entry.release, entry.pack), run_id
        return run_id or None

    def _find_run(self, number: int, pack: str) -> tuple[str, bool]:
        """Id of the round's run, empty if there is none, and whether it is complete."""
        tags = {"paaplus.release": str(number), "paaplus.pack": pack}
        runs = self._connection.client.search_runs(
            [self._connection.experiment_id],
            " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items()),
            max_results=1,
        )
        return (runs[0].info.run_id, runs[0].info.status == "FINISHED") if runs else ("", False)


def _tags(release: Release) -> dict[str, str]:
    return {
        "paaplus.release": str(release.number),
        "paaplus.cohort": release.cohort,
        "paaplus.pack": release.pack,
        "paaplus.population": release.population,
        "paaplus.strategy": release.strategy,
        "paaplus.users": str(release.users),
        "paaplus.promoted": str(release.promoted),
        "paaplus.created_at": release.created_at.isoformat(),
        "paaplus.code": __version__,
    }
