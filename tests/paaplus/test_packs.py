"""Packs: what is written is what is read, and nothing else is ever read."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from paaplus.errors import NotFoundError, PackError
from paaplus.heads import Heads
from paaplus.packs import PackStore, open_pack, pack_path, population_path, write_pack

MANIFEST = {
    "population": "a" * 64,
    "trunk": "lite0",
    "strategy": "exact_ewc",
    "cohort": "c0000",
    "code": "0.1.0",
    "learned": {"from": 0, "to": 10},
}


def heads(users, regressors=4, seed=0, noisy=True):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(users, 3, regressors, regressors)).astype(np.float32)
    covariance = (half + half.swapaxes(-1, -2)).astype(np.float64)
    mean = rng.normal(size=(users, 3, regressors)).astype(np.float32).astype(np.float64)
    noise = rng.uniform(0.1, 2.0, (users, 3)).astype(np.float32).astype(np.float64)
    return Heads(mean, covariance, noise if noisy else None)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    user_ids=st.lists(st.text(max_size=20), min_size=1, max_size=12, unique=True),
    regressors=st.integers(1, 6),
    seed=st.integers(0, 1000),
    noisy=st.booleans(),
)
def test_round_trip(tmp_path, user_ids, regressors, seed, noisy):
    given_heads = heads(len(user_ids), regressors, seed, noisy)
    sha, rows = write_pack(tmp_path, given_heads, user_ids, MANIFEST)
    pack = open_pack(tmp_path, sha)
    assert pack.manifest == MANIFEST
    assert sorted(pack.user_ids()) == sorted(user_ids)
    assert sorted(rows.values()) == list(range(len(user_ids)))
    for i, user_id in enumerate(user_ids):
        assert pack.row_of(user_id) == rows[user_id]
        assert pack.user_of(rows[user_id]) == user_id
        head = pack.head(rows[user_id], user_id)
        np.testing.assert_array_equal(head.mean, given_heads.mean[i])
        np.testing.assert_array_equal(head.covariance, given_heads.covariance[i])
        assert (head.noise is None) == (not noisy)
        if noisy:
            np.testing.assert_array_equal(head.noise, given_heads.noise[i])
    with pytest.raises(NotFoundError):
        pack.row_of("".join(user_ids) + "?")


def test_the_name_is_the_sha256_of_the_bytes(tmp_path):
    sha, _ = write_pack(tmp_path, heads(3), ["b", "a", "c"], MANIFEST)
    path = tmp_path / "packs" / sha[:2] / f"{sha}.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert load_file(path)["user_bytes"].tobytes() == b"abc"


def test_equal_input_gives_equal_bytes_in_any_order(tmp_path):
    given_heads = heads(5)
    order = [3, 0, 4, 2, 1]
    assert given_heads.noise is not None
    shuffled = Heads(
        given_heads.mean[order], given_heads.covariance[order], given_heads.noise[order]
    )
    ids = ["u0", "u1", "u2", "u3", "u4"]
    sha, _ = write_pack(tmp_path, given_heads, ids, MANIFEST)
    assert write_pack(tmp_path, shuffled, [ids[i] for i in order], MANIFEST)[0] == sha
    backwards = dict(reversed(MANIFEST.items()))
    assert write_pack(tmp_path, given_heads, ids, backwards)[0] == sha
    assert write_pack(tmp_path, given_heads, ids, MANIFEST | {"trunk": "other"})[0] != sha


def test_another_users_row_is_refused(tmp_path):
    sha, rows = write_pack(tmp_path, heads(3), ["a", "b", "c"], MANIFEST)
    pack = open_pack(tmp_path, sha)
    for row in (rows["b"], -1, 3):
        with pytest.raises(PackError):
            pack.head(row, "a")


def test_every_flipped_bit_is_found(tmp_path):
    sha, _ = write_pack(tmp_path, heads(2, 2), ["a", "b"], MANIFEST)
    path = pack_path(tmp_path, sha)
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[at] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises(PackError, match="sha256"):
            open_pack(tmp_path, sha)
    path.write_bytes(content[:-1])
    with pytest.raises(PackError, match="sha256"):
        open_pack(tmp_path, sha)
    path.unlink()
    with pytest.raises(PackError, match="no such file"):
        open_pack(tmp_path, sha)


@pytest.mark.parametrize(
    "sha", ["", "a" * 63, "a" * 65, "A" * 64, "../" * 21 + "a", "a" * 64 + "\n", "é" * 64]
)
def test_names_that_are_no_sha_are_refused(tmp_path, sha):
    for path in (pack_path, population_path):
        with pytest.raises(PackError, match="64 hexadecimal"):
            path(tmp_path, sha)


def header(**changes):
    good = {
        "format": 1,
        "attributes": ["appearance", "health", "posture"],
        "regressors": 2,
        "manifest": MANIFEST,
    }
    return {"paaplus": json.dumps(good | changes)}


def tensors(**changes):
    good = {
        "heads": np.zeros((1, 15), np.float32),
        "user_bytes": np.frombuffer(b"u", np.uint8),
        "user_offsets": np.array([0, 1]),
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def plant(root, content):
    sha = hashlib.sha256(content).hexdigest()
    path = pack_path(root, sha)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return sha


def test_the_planted_file_is_a_pack(tmp_path):
    pack = open_pack(tmp_path, plant(tmp_path, save(tensors(), header())))
    assert pack.head(0, "u").mean.tolist() == [[0, 0]] * 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a safetensors file at all",
        save(tensors(), {}),
        save(tensors(), {"paaplus": "{"}),
        save(tensors(), {"paaplus": "[]"}),
        save(tensors(), header(format=2)),
        save(tensors(), header(attributes=["posture"])),
        save(tensors(), header(regressors=3)),
        save(tensors(), header(manifest={"trunk": "x"})),
        save(tensors(heads=None), header()),
        save(tensors(heads=np.zeros((2, 15), np.float32)), header()),
        save(tensors(heads=np.zeros((1, 15))), header()),
        save(tensors(user_offsets=np.array([0, 2])), header()),
        save(tensors(user_offsets=np.array([0, 1], np.int32)), header()),
        save(tensors(user_offsets=np.array([], np.int64)), header()),
        save(
            tensors(heads=np.zeros((2, 15), np.float32), user_offsets=np.array([0, 9, 1])), header()
        ),
        save(tensors(user_bytes=np.array([255], np.uint8)), header()),
        save(tensors(noise=np.ones((2, 3), np.float32)), header()),
        save(tensors(noise=np.ones((1, 3))), header()),
    ],
)
def test_the_right_sha_of_a_wrong_layout_is_refused(tmp_path, content):
    with pytest.raises(PackError, match=r"not a pack of format|manifest of a pack"):
        open_pack(tmp_path, plant(tmp_path, content))


@pytest.mark.parametrize(
    ("wrong", "user_ids"),
    [
        (heads(2), ["a"]),
        (heads(2), ["a", "a"]),
        (heads(1), ["\ud800"]),
        (heads(0), []),
        (Heads(heads(1).mean[:, :2], heads(1).covariance), ["a"]),
        (Heads(heads(1).mean, heads(1).covariance[:, :, :2]), ["a"]),
        (Heads(heads(1).mean * np.nan, heads(1).covariance), ["a"]),
        (Heads(heads(1).mean, heads(1).covariance + 1e39), ["a"]),
        (Heads(heads(1).mean, heads(1).covariance, np.zeros((1, 3))), ["a"]),
        (Heads(heads(1).mean, heads(1).covariance, np.full((1, 3), np.nan)), ["a"]),
        (Heads(heads(1).mean, heads(1).covariance, np.ones((1, 2))), ["a"]),
    ],
)
def test_heads_that_make_no_pack_are_refused(tmp_path, wrong, user_ids):
    with pytest.raises(PackError):
        write_pack(tmp_path, wrong, user_ids, MANIFEST)
    assert not (tmp_path / "packs").exists()


@pytest.mark.parametrize(
    "changes", [{"trunk": None}, {"code": 1}, {"more": {1, 2}}, {"more": float("nan")}]
)
def test_a_manifest_that_says_too_little_or_is_no_json_is_refused(tmp_path, changes):
    with pytest.raises(PackError, match="manifest"):
        write_pack(tmp_path, heads(1), ["a"], MANIFEST | changes)


def test_a_crash_while_writing_leaves_no_pack(tmp_path, monkeypatch):
    def crash(handle):
        raise OSError("disk full")

    monkeypatch.setattr("paaplus.atomic.os.fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        write_pack(tmp_path, heads(1), ["a"], MANIFEST)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_store_keeps_the_recent_packs_open(tmp_path):
    shas = [write_pack(tmp_path, heads(1, seed=i), ["a"], MANIFEST)[0] for i in range(3)]
    store = PackStore(tmp_path, capacity=2)
    first = store.open(shas[0])
    assert store.open(shas[0]) is first
    store.open(shas[1])
    store.open(shas[0])
    store.open(shas[2])  # shuts shas[1], the least recently used
    assert store.open(shas[0]) is first
    pack_path(tmp_path, shas[0]).write_bytes(b"")
    assert store.open(shas[0]) is first
    store.clear()
    with pytest.raises(PackError):
        store.open(shas[0])
