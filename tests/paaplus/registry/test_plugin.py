"""Stock MLflow loads a user's head through the plugin, and only that user's."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from paaplus.errors import NotFoundError, PackError, RegistryError
from paaplus.packs import pack_path
from paaplus.registry.names import PackAddress, user_model
from paaplus.registry.plugin import PackArtifactRepository

pytestmark = [
    # MLflow's own mapping, under SQLAlchemy 2.1.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]

ITEM_IDS = ["i3", "i0", "i29", "i3"]


def champion(user_id):
    return f"models:/{user_model('main', user_id)}@champion"


def promote_all(world, **options):
    release, rows = world.release(1, **options)
    registry = world.registry()
    for user_id in rows:
        registry.mirror(world.promote(user_id, release, rows), None)
    return release, rows


def test_the_stock_loader_says_what_scoring_says(world):
    _, rows = promote_all(world)
    predictions = []
    for user_id in rows:
        model = mlflow.pyfunc.load_model(champion(user_id))
        prediction = model.predict(world.frame(ITEM_IDS))
        pd.testing.assert_frame_equal(prediction, world.table(user_id, ITEM_IDS), check_exact=True)
        predictions.append(prediction.to_numpy())
    assert len(np.unique(np.round(predictions, 6), axis=0)) == len(rows)


def test_it_loads_where_pickle_is_forbidden(world, monkeypatch):
    promote_all(world, users=["ann"])
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = mlflow.pyfunc.load_model(champion("ann"))
    assert len(model.predict(world.frame(["i1"]))) == 1
    assert model.metadata.flavors["python_function"].keys() == {
        "loader_module",
        "data",
        "python_version",
    }


def test_the_model_directory_holds_data_only(world, tmp_path):
    promote_all(world, users=["ann", "bob"])
    folder = tmp_path / "copy"
    folder.mkdir()
    download_artifacts(champion("ann"), dst_path=str(folder))
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert files.pop("registered_model_meta")  # written by MLflow
    assert set(files) == {
        "MLmodel",
        "data/model.json",
        "data/head.safetensors",
        "data/population.safetensors",
    }
    assert not [name for name, content in files.items() if b"bob" in content]
    assert not [name for name, content in files.items() if str(world.root).encode() in content]


def test_files_are_listed(world):
    promote_all(world, users=["ann"])
    sizes = {f.path: (f.is_dir, f.file_size) for f in list_artifacts(champion("ann"))}
    assert sizes.keys() == {"MLmodel", "data"}
    assert sizes["data"] == (True, None)
    repository = get_artifact_repository(str(PackAddress(world.champions["ann"].pack)), world.url)
    names = [f.path for f in repository.list_artifacts("data")]
    assert names == ["data/model.json", "data/pack.safetensors", "data/population.safetensors"]
    assert repository.list_artifacts("data/model.json") == []
    one = repository.download_artifacts("data/pack.safetensors")
    assert Path(one).read_bytes() == pack_path(world.root, world.champions["ann"].pack).read_bytes()
    with pytest.raises(NotFoundError, match="no file"):
        repository.download_artifacts("../MLmodel")


def test_it_is_read_only(world):
    repository = get_artifact_repository(str(PackAddress("a" * 64)), world.url)
    assert isinstance(repository, PackArtifactRepository)
    for refused in (repository.log_artifact, repository.log_artifacts):
        with pytest.raises(RegistryError, match="read-only"):
            refused("x")
    with pytest.raises(RegistryError, match="read-only"):
        repository.delete_artifacts()


def test_the_folder_is_found_by_variable_or_by_tag(world, monkeypatch):
    promote_all(world, users=["ann"])
    elsewhere = world.root.with_name("moved")
    world.root.rename(elsewhere)
    with pytest.raises(PackError, match="PAAPLUS_ARTIFACTS"):
        mlflow.pyfunc.load_model(champion("ann"))
    monkeypatch.setenv("PAAPLUS_ARTIFACTS", str(elsewhere))
    mlflow.pyfunc.load_model(champion("ann"))
    monkeypatch.delenv("PAAPLUS_ARTIFACTS")
    world.root = elsewhere
    world.registry().reconcile([])  # the next use notes where the folder is now
    mlflow.pyfunc.load_model(champion("ann"))


def test_a_flipped_bit_is_refused(world):
    release, _ = promote_all(world, users=["ann"])
    path = pack_path(world.root, release.pack)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(PackError, match="sha256"):
        mlflow.pyfunc.load_model(champion("ann"))


def test_a_damaged_population_model_is_refused(world):
    promote_all(world, users=["ann"])
    path = world.root / "populations" / f"{world.population.version}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(PackError):
        mlflow.pyfunc.load_model(champion("ann"))
    path.unlink()
    with pytest.raises(PackError, match="population"):
        mlflow.pyfunc.load_model(champion("ann"))


def test_a_version_that_names_another_users_row_is_refused(world):
    release, rows = promote_all(world)
    client = mlflow.MlflowClient()
    name = user_model("main", "ann")
    for row, user_id in [(rows["bob"], "ann"), (99, "ann"), (rows["ann"], "ANN")]:
        source = str(PackAddress(release.pack, row, user_id))
        version = client.create_model_version(name, source, await_creation_for=0)
        with pytest.raises(PackError, match="row"):
            mlflow.pyfunc.load_model(f"models:/{name}/{version.version}")
    bad = client.create_model_version(name, "paaplus://packs/../x", await_creation_for=0)
    with pytest.raises(PackError, match="not the address"):
        mlflow.pyfunc.load_model(f"models:/{name}/{bad.version}")


class Mixing(PackArtifactRepository):
    """What must not be: the address is kept on the class."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        Mixing.shared = self.__dict__.pop("_address")

    @property
    def _address(self):
        return Mixing.shared

    @_address.setter
    def _address(self, value):
        self.__dict__["_address"] = value


def mixed(world, loads):
    """(wanted, got) of loads by eight threads that got another user's head."""
    users = [f"u{n}" for n in range(16)]
    promote_all(world, users=users, levels=[n / 2 for n in range(16)])
    frame = world.frame(["i0"])

    def load(n):
        model = mlflow.pyfunc.load_model(champion(f"u{n}"), suppress_warnings=True)
        return n / 2, float(model.predict(frame)["health"].iloc[0])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(load, [n % 16 for n in range(loads)]))
    finally:
        sys.setswitchinterval(interval)
    assert len(results) == loads
    return [result for result in results if result[0] != result[1]]


def test_threads_never_get_another_users_head(world):
    assert mixed(world, 320) == []
    assert [name for name in sys.modules if name.startswith("code_model_")] == []


def test_the_thread_test_can_fail(world, monkeypatch):
    known = artifact_repository_registry.get_registered_artifact_repositories()
    monkeypatch.setitem(known, "paaplus", Mixing)
    assert mixed(world, 64) != []
