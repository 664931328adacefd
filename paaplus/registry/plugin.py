"""MLflow's artifact repository for `paaplus://`: shows a row of a pack as a model directory.

Declared as an entry point: `mlflow.pyfunc.load_model("models:/paaplus.main.u.42@champion")` works
wherever paaplus is installed. It is needed where models are loaded, not on the MLflow server.
"""

from __future__ import annotations

import os
import shutil
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NoReturn

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.version import VERSION

from paaplus.errors import NotFoundError, PackError, RegistryError
from paaplus.packs import pack_path
from paaplus.registry.connection import ARTIFACTS_TAG
from paaplus.registry.layout import model_files
from paaplus.registry.names import PackAddress

ROOT_VARIABLE = "PAAPLUS_ARTIFACTS"
"""Environment variable that names the artifacts folder; else the experiments' tags say it."""


class PackArtifactRepository(ArtifactRepository):
    """Read-only view of one pack, or of one row of it.

    Args:
        artifact_uri: `paaplus://packs/<sha>` with or without `?row=…&user=…`.
        tracking_uri: Where to look for the artifacts folder if no variable names it.
        registry_uri: Not needed.

    Raises:
        PackError: Not such an address.
    """

    def __init__(
        self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self._address = PackAddress.parse(artifact_uri)

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Files and folders directly under a path; none under a file."""
        folder = f"{path.strip('/')}/" if path else ""
        below = [name for name in self._files if name.startswith(folder)]
        names = sorted({folder + name.removeprefix(folder).split("/")[0] for name in below})
        return [FileInfo(n, n not in self._files, self._size(n)) for n in names]

    def download_artifacts(self, artifact_path: str | None, dst_path: str | None = None) -> str:
        """Write the files under a path to a folder; without threads and progress bars.

        Args:
            artifact_path: One of the files or folders; empty for all.
            dst_path: An existing folder; None for a new temporary one, which is the caller's.

        Returns:
            Where it lies.
        """
        wanted = (artifact_path or "").strip("/")
        names = [n for n in self._files if not wanted or n == wanted or n.startswith(f"{wanted}/")]
        if not names:
            self._refuse_file(wanted)
        target = Path(dst_path if dst_path else mkdtemp(prefix="paaplus-")).absolute()
        for name in names:
            self._download_file(name, str(target / name))
        return str(target / wanted)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        content = self._files.get(remote_file_path)
        if content is None:
            self._refuse_file(remote_file_path)
        path = Path(local_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copyfile(content, path)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Refused: packs do not change."""
        self._refuse_writing()

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Refused: packs do not change."""
        self._refuse_writing()

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Refused: packs do not change."""
        self._refuse_writing()

    @cached_property
    def _files(self) -> dict[str, bytes | Path]:
        return model_files(self._root(), self._address, VERSION)

    def _root(self) -> Path:
        named = os.environ.get(ROOT_VARIABLE)
        if named:
            return Path(named)
        # A wrong or hostile tag does no harm: a file counts only if its content has the right sha.
        for root in self._tagged_roots():
            if pack_path(root, self._address.sha).is_file():
                return root
        raise PackError(
            f"pack {self._address.sha[:12]}… is not in any artifacts folder that MLflow knows of",
            f"set {ROOT_VARIABLE} to the artifacts folder, or mount it where the worker has it",
        )

    def _tagged_roots(self) -> list[Path]:
        from mlflow import MlflowClient

        experiments = MlflowClient(self.tracking_uri).search_experiments(
            filter_string="name LIKE 'paaplus.%'"
        )
        tags: list[Any] = [experiment.tags.get(ARTIFACTS_TAG) for experiment in experiments]
        return [Path(tag) for tag in tags if tag]

    def _size(self, name: str) -> int | None:
        content = self._files.get(name)
        if content is None:
            return None
        return len(content) if isinstance(content, bytes) else content.stat().st_size

    def _refuse_file(self, name: str) -> NoReturn:
        raise NotFoundError(
            f"{self.artifact_uri} has no file {name[:200]!r}", f"it has {sorted(self._files)}"
        )

    def _refuse_writing(self) -> NoReturn:
        raise RegistryError(
            f"{self.artifact_uri} is read-only", "packs are written by `paaplus retrain` alone"
        )
