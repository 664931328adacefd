"""What a folder of ratings may hold: every fault is told before the first event, nothing arrives bent."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paaplus.errors import ConfigError, PaaplusError
from paaplus.events import Rating, decode, encode
from paaplus.store import open_store
from workers.config import load_config
from workers.importers import import_ratings
from workers.tasks import append_events, ingest_once

MATRIX = np.random.default_rng(0).normal(2, 5, (3, 4))


def write(folder: Path, table: dict[str, Any] | None = None, **arrays: Any) -> Path:
    """A pack of three ratings of three items, but for what is given."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"user_id": ["ann", "ann", "bob"], "item_id": [0, 1, 2], "score": [1.0, 4.0, 7.0]}
    pd.DataFrame(columns | (table or {})).to_parquet(folder / "ratings.parquet")
    everything = {"item_id": np.arange(3), "image": MATRIX} | arrays
    np.savez(folder / "item_features.npz", **everything)
    return folder


def standardised(matrix: Any) -> Any:
    """Centred per column, divided by its root mean square."""
    centred = matrix - matrix.mean(axis=0)
    return centred / np.sqrt(np.square(centred).mean())


def test_features_arrive_in_half_precision(tmp_path: Path) -> None:
    folder = write(tmp_path / "pack", face=MATRIX[:, :2].astype(np.float16))
    config = load_config(home=tmp_path / "home", trunk={"name": "given-pack"})
    imported = import_ratings(folder)
    append_events(imported, config.log_url, 1, quiet=True)
    ingest_once(config, quiet=True)
    with open_store(config.store_url) as store, store.read() as connection:
        ids, vectors = store.items.features(connection, "given-pack")
    arrived = np.asarray(vectors)[[ids.index(item_id) for item_id in imported.item_ids]]
    expected = [standardised(MATRIX), standardised(MATRIX[:, :2].astype(np.float16).astype(float))]
    np.testing.assert_allclose(arrived, np.concatenate(expected, axis=1), rtol=1e-3, atol=1e-4)


@given(
    scores=st.lists(st.integers(-50, 50), min_size=3, max_size=3),
    low=st.integers(-60, -51),
    width=st.integers(1, 200),
)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_scale_is_a_straight_line_that_ends_at_zero_and_ten(
    tmp_path: Path, scores: list[int], low: int, width: int
) -> None:
    scores = [low + abs(score) % (width + 1) for score in scores]
    folder = write(tmp_path / "pack", {"score": np.array(scores, dtype=float)})
    events = list(import_ratings(folder, scale=(low, low + width)))[3:]
    given_scores = [event.scores.appearance for event in events if isinstance(event, Rating)]
    line = np.interp(scores, [low, low + width], [0, 10])
    np.testing.assert_allclose(given_scores, line, atol=5.1e-5)
    assert all(decode(encode(event)) == event for event in events)


def test_scores_outside_of_the_scale_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="outside"):
        import_ratings(write(tmp_path / "pack"), scale=(0, 5))


@pytest.mark.parametrize("scale", [(5, 5), (7, 1), (0, np.inf), (np.nan, 7), (-np.inf, 7)])
def test_a_scale_must_rise_between_two_numbers(tmp_path: Path, scale: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="scale"):
        import_ratings(write(tmp_path / "pack"), scale=scale)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"user_id": ["ann", None, "bob"]}, "id"),
        ({"user_id": [1.0, np.nan, 2.0]}, "id"),
        ({"item_id": [0, np.nan, 2]}, "id"),
        ({"item_id": [0, None, 2]}, "id"),
        ({"user_id": ["ann", "", "bob"]}, "user_id"),
        ({"user_id": ["ann", "x" * 500, "bob"]}, "user_id"),
        ({"user_id": ["ann", "a\0b", "bob"]}, "user_id"),
        ({"user_id": ["ann", "a@example.org", "bob"]}, "user_id"),
        ({"item_id": [0.0, 1.0, 2.0]}, "no features"),
        ({"score": ["good", "bad", "fair"]}, "not a number"),
        ({"score": [None, None, None]}, "not a number"),
        ({"score": [1, np.inf, 2]}, "not a number"),
        ({"user_id": [], "item_id": [], "score": []}, "scale"),
    ],
)
def test_a_fault_in_the_table_is_told(tmp_path: Path, table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        import_ratings(write(tmp_path / "pack", table))
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"image": MATRIX[:2]}, "rows"),
        ({"image": np.ones((5, 4))}, "rows"),
        ({"face": MATRIX[:2]}, "rows"),
        ({"item_id": np.array(5)}, "item_id"),
        ({"item_id": np.arange(6).reshape(3, 2)}, "item_id"),
        ({"item_id": np.array([0, 1, 1]), "image": MATRIX}, "twice"),
        ({"image": np.where(MATRIX[1, 1] == MATRIX, np.nan, MATRIX)}, "image"),
        ({"face": np.where(MATRIX[1, 1] == MATRIX, np.nan, MATRIX)}, "face"),
        ({"face": np.where(MATRIX[1, 1] == MATRIX, np.inf, MATRIX)}, "face"),
        ({"image": np.ones((3, 4), dtype=int)}, "float matrix"),
        ({"image": np.ones((3, 0))}, "float matrix"),
        ({"image": np.random.default_rng(0).normal(size=(3, 16_385))}, "features"),
    ],
)
def test_a_fault_in_the_features_is_told(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    table = {"item_id": [0, 1, 1]} if said == "twice" else {}
    with pytest.raises(ConfigError, match=said) as refused:
        import_ratings(write(tmp_path / "pack", table, **arrays))
    assert refused.value.remedy


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)


def no_arrays(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("item_id.npy", "rubbish")


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, MATRIX)


@pytest.mark.parametrize("damage", [cut, empty, flip, no_arrays, one_array])
def test_damaged_features_are_told(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = write(tmp_path / "pack")
    damage(folder / "item_features.npz")
    with pytest.raises(ConfigError, match="npz"):
        import_ratings(folder)


@pytest.mark.parametrize("damage", [cut, empty])
def test_a_damaged_table_is_told(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = write(tmp_path / "pack")
    damage(folder / "ratings.parquet")
    with pytest.raises(ConfigError, match="Parquet"):
        import_ratings(folder)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=3, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_ids_of_any_text_are_carried_whole_or_refused(tmp_path: Path, users: list[str]) -> None:
    try:
        folder = write(tmp_path / "pack", {"user_id": users})
    except UnicodeEncodeError:  # a lone surrogate: Parquet holds no such text
        return
    try:
        events = list(import_ratings(folder))
    except PaaplusError as error:
        assert error.remedy  # noqa: PT017 - either is right
        return
    carried = [decode(encode(event)) for event in events]
    assert [event.user_id for event in carried if isinstance(event, Rating)] == users


def test_folders_of_other_names_and_tasks_are_other_events(tmp_path: Path) -> None:
    table = {"task": ["a", "a", "a"]}
    packs = [write(tmp_path / name, table) for name in ("one", "two")]
    imports = [import_ratings(pack) for pack in packs] + [import_ratings(packs[0], task="a")]
    ratings = [{e.event_id for e in found if isinstance(e, Rating)} for found in imports]
    assert len(set.union(*ratings)) == 9
    again = import_ratings(packs[0])
    assert list(map(encode, again)) == list(map(encode, imports[0]))
    assert [found.total for found in imports] == [6, 6, 6]


def test_a_hostile_folder_name_becomes_a_name_that_events_may_carry(tmp_path: Path) -> None:
    for name in ("mé beauty!", "x" * 120, ".hidden", "a\nb"):
        for event in import_ratings(write(tmp_path / name)):
            assert decode(encode(event)) == event
