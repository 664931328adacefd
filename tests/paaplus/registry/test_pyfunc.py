"""The release as one model for many users, and inputs that cannot be scored."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from paaplus.errors import NotFoundError, PackError, TrunkError
from paaplus.registry import pyfunc

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


@pytest.fixture
def release(world):
    release, rows = world.release(1)
    world.registry().register_release(release, None)
    for user_id in rows:
        world.promote(user_id, release, rows)
    return mlflow.pyfunc.load_model("models:/paaplus.main.c0000@champion")


def test_a_release_scores_each_row_for_its_user(world, release):
    asked = [("bob", "i3"), ("..", "i0"), ("bob", "i1"), ("ann", "i3"), ("..", "i2")]
    frame = world.frame([item_id for _, item_id in asked])
    frame.insert(0, "user_id", [user_id for user_id, _ in asked])
    frame.index = [10, 20, 30, 40, 50]
    got = release.predict(frame)
    assert list(got.index) == list(frame.index)
    for user_id in ("bob", "..", "ann"):
        at = [n for n, (user, _) in enumerate(asked) if user == user_id]
        expected = world.table(user_id, [asked[n][1] for n in at])
        pd.testing.assert_frame_equal(
            got.iloc[at].reset_index(drop=True), expected, check_exact=True
        )


def test_a_release_serves_nobody_by_default(world, release):
    with pytest.raises(MlflowException, match=r"missing inputs .*user_id"):
        release.predict(world.frame(["i0"]))
    strange = world.frame(["i0"]).assign(user_id="nobody")
    with pytest.raises(NotFoundError, match="'nobody' has no head"):
        release.predict(strange)


@pytest.fixture
def folder(world):
    release, rows = world.release(1, users=["ann"])
    world.registry().mirror(world.promote("ann", release, rows), None)
    return download_artifacts("models:/paaplus.main.u.ann@champion") + "/data"


def test_missing_columns_are_named(world, folder):
    model = pyfunc._load_pyfunc(folder)
    frame = world.frame(["i0", "i1"])
    assert model.predict(frame).shape == (2, 6)
    for name in ("item_id", "features"):
        with pytest.raises(NotFoundError, match=f"no column '{name}'"):
            model.predict(frame.drop(columns=name))
    with pytest.raises(NotFoundError, match="no column"):
        model.predict([1, 2, 3])
    with pytest.raises(NotFoundError, match="'item_id' holds"):
        model.predict(frame.assign(item_id=[1, 2]))


@pytest.mark.parametrize(
    "vectors",
    [
        [[1.0], [1.0, 2.0]],
        [[0.0] * 6, None],
        [[0.0] * 6, [float("nan")] * 6],
        [[0.0] * 6, ["x"] * 6],
        [1.0, 2.0],
        [[[0.0] * 6], [[0.0] * 6]],
    ],
)
def test_features_that_are_no_vectors_are_refused(world, folder, vectors):
    frame = world.frame(["i0", "i1"]).assign(features=pd.Series(vectors, dtype=object))
    with pytest.raises(TrunkError, match="trunk 'given'"):
        pyfunc._load_pyfunc(folder).predict(frame)


def test_arrays_and_lists_are_the_same_and_nothing_is_nothing(world, folder):
    model = pyfunc._load_pyfunc(folder)
    frame = world.frame(["i0", "i1"])
    arrays = frame.assign(features=[np.array(v, np.float64) for v in frame["features"]])
    pd.testing.assert_frame_equal(model.predict(frame), model.predict(arrays), check_exact=True)
    assert model.predict(frame.iloc[:0]).shape == (0, 6)


def test_an_item_that_nobody_rated_is_scored_from_its_features(world, folder):
    frame = world.frame(["i0", "i0", "i0", "i1"]).assign(item_id=["i0", "new", "newer", "new"])
    known, new, newer, other = pyfunc._load_pyfunc(folder).predict(frame).to_numpy()
    np.testing.assert_array_equal(new, newer)
    assert (known != new).all()
    assert (other != new).all()


def test_files_of_another_format_are_refused(world, folder):
    path = Path(folder, "model.json")
    about = json.loads(path.read_bytes())
    path.write_text(json.dumps(about | {"format": 2}))
    with pytest.raises(PackError, match="format 2"):
        pyfunc._load_pyfunc(folder)
    path.write_text(json.dumps(about))
    Path(folder, "head.safetensors").write_bytes(b"")
    with pytest.raises(PackError, match="not a head"):
        pyfunc._load_pyfunc(folder)
