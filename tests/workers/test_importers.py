"""Ratings that somebody has become events; twice is once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select

from paaplus.errors import ConfigError, NotFoundError
from paaplus.population.weights import NO_DAY
from paaplus.store import open_store
from paaplus.store.tables import feedback
from workers.config import load_config
from workers.importers import import_ratings
from workers.tasks import append_events, ingest_once


def write(folder: Path, *, scores: Any = (1, 4, 7, 7), **columns: Any) -> Path:
    folder.mkdir()
    table = {
        "user_id": ["ann", "ann", "bob", "ann"],
        "item_id": [0, 1, 1, 0],
        "score": list(scores),
        "task": ["looks", "looks", "looks", "other"],
        "seq": [2, 1, 3, 0],
    }
    pd.DataFrame(table | columns).to_parquet(folder / "ratings.parquet")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "item_features.npz",
        item_id=np.arange(3),
        image=rng.normal(2, 5, (3, 4)).astype(np.float16),
        face=rng.normal(0, 0.1, (3, 2)),
        has_face=np.ones(3, dtype=bool),
    )
    return folder


def test_every_rating_has_one_effect_however_often_it_is_imported(tmp_path: Path) -> None:
    folder = write(tmp_path / "pack")
    config = load_config(home=tmp_path / "home", trunk={"name": "given-pack"})
    for _ in range(2):
        told = append_events(import_ratings(folder), config.log_url, 2, quiet=True)
        assert (told["events"], told["items"]) == (7, 3)
    result = ingest_once(config, quiet=True)
    assert (result["accepted"], result["duplicates"], result["dead_letters"]) == (7, 7, 0)
    with open_store(config.store_url) as store, store.read() as connection:
        rows = connection.execute(select(feedback).order_by(feedback.c.occurred_at)).all()
        ids, vectors = store.items.features(connection, "given-pack")
        days = store.feedback.all_ratings(connection).days
    assert (days == NO_DAY).all()  # a pack brings no times, so no cap of a day concerns it
    # In the order of seq, the scale 1..7 mapped to 0..10.
    assert [(r.user_id, r.item_id, r.appearance) for r in rows] == [
        ("ann", "0", 10.0),
        ("ann", "1", 5.0),
        ("ann", "0", 0.0),
        ("bob", "1", 10.0),
    ]
    assert all(r.health is None and r.posture is None for r in rows)
    assert ids == ["0", "1", "2"]
    # Each block centred, with a root mean square of 1.
    for block in (vectors[:, :4], vectors[:, 4:]):
        np.testing.assert_allclose(block.mean(axis=0), 0, atol=1e-3)
        assert np.sqrt((block**2).mean()) == pytest.approx(1, abs=1e-3)


def test_a_task_an_attribute_and_a_scale_can_be_chosen(tmp_path: Path) -> None:
    folder = write(tmp_path / "pack")
    found = import_ratings(folder, task="looks", attribute="posture", scale=(0, 10))
    scores = [event.scores.posture for event in list(found)[3:]]  # type: ignore[union-attr]
    assert scores == [4, 1, 7]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"scores": (1, 2, np.nan, 3)}, ConfigError, "not a number"),
        ({"scores": (1, 2, 2.5, 3.5)}, ConfigError, "--scale"),
        ({"scores": (2, 2, 2, 2)}, ConfigError, "scale"),
        ({"user_id": ["ann", "../x", "bob", "c"]}, ConfigError, "cannot carry"),
        ({"item_id": [0, 1, 9, 0]}, ConfigError, "no features"),
    ],
)
def test_what_cannot_be_imported_is_said(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        import_ratings(write(tmp_path / "pack", **change))


def test_a_folder_without_the_files_or_the_task_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"ratings\.parquet"):
        import_ratings(tmp_path)
    with pytest.raises(NotFoundError, match="other"):
        import_ratings(write(tmp_path / "pack"), task="none")
    (tmp_path / "pack" / "item_features.npz").write_bytes(b"rubbish")
    with pytest.raises(ConfigError, match="npz"):
        import_ratings(tmp_path / "pack")
    np.savez(tmp_path / "pack" / "item_features.npz", item_id=np.array([object()], dtype=object))
    with pytest.raises(ConfigError, match="without objects"):
        import_ratings(tmp_path / "pack")
