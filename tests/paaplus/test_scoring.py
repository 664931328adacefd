"""Scoring: the formula by hand, and what is said when it cannot be done."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from paaplus.errors import NotFoundError, PackError
from paaplus.heads import Heads
from paaplus.packs import pack_path, write_pack
from paaplus.scoring import Scorer

OLD, NEW = "0" * 64, "1" * 64
FEATURES = {"i0": [0.5, 1.0], "i1": [-0.25, 2.0], "i2": [0.125, -1.0]}


@dataclass(frozen=True)
class StandIn:
    """A population model of m = 3 whose rows are [1, x0, x1 * (a + 1)]."""

    version: str
    trunk: str
    prior: SimpleNamespace

    def rows(self, item_ids, features):
        assert features.shape == (len(item_ids), 2)
        assert features.dtype == np.float32
        return np.array([[[1, x[0], x[1] * (a + 1)] for a in range(3)] for x in features])

    def unseen_variance(self, item_ids):
        return np.array([[0.5 if i == "i2" else 0.0] * 3 for i in item_ids])


def population(version, level):
    prior = SimpleNamespace(
        mean=np.array([[level, 1.0, 0.5]] * 3),
        covariance=np.array([np.diag([0.25, 0.5, 0.125])] * 3),
        noise=np.array([1.0, 2.0, 3.0]),
    )
    return StandIn(version, f"trunk-{version[0]}", prior)


POPULATIONS = {OLD: population(OLD, 4.0), NEW: population(NEW, 6.0)}


@dataclass(frozen=True)
class Pointer:
    user_id: str
    version: int
    pack: str
    row: int
    population: str


class Source:
    def __init__(self, current=NEW, **champions):
        self.current = current
        self.champions = champions

    def champion(self, user_id):
        return self.champions.get(user_id)

    def version(self, user_id, version):
        return self.champions.get(f"{user_id}@{version}")

    def current_population(self):
        return self.current

    def known_items(self, item_ids):
        return {i for i in item_ids if i.startswith("i")}

    def feature_matrix(self, item_ids, trunk):
        assert trunk.startswith("trunk-")
        found = sorted(i for i in set(item_ids) if i in FEATURES)
        vectors = np.array([FEATURES[i] for i in found], dtype=np.float32)
        return found, vectors.reshape(len(found), 2)


@pytest.fixture
def pack(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "paaplus.scoring.load_population", lambda path, version: POPULATIONS[version]
    )
    mean = np.array([[[3.0 + u, 1.0, 0.25]] * 3 for u in range(2)])
    covariance = np.array([[np.diag([0.5, 0.25, 0.125])] * 3] * 2)
    covariance[:, :, 0, 1] = covariance[:, :, 1, 0] = 0.0625
    manifest = dict.fromkeys(("strategy", "cohort", "code"), "x")
    manifest |= {"population": OLD, "trunk": "trunk-0"}
    return write_pack(tmp_path, Heads(mean, covariance), ["ann", "bob"], manifest)[0]


def by_hand(mean, covariance, noise, item_id, attribute):
    x0, x1 = FEATURES[item_id]
    psi = [1.0, x0, x1 * (attribute + 1)]
    expected = sum(p * w for p, w in zip(psi, mean, strict=True))
    variance = sum(psi[j] * psi[k] * covariance[j][k] for j in range(3) for k in range(3))
    heeded = (
        mean[2] ** 2 + covariance[2][2]
    )  # how much the user cares for what is not known of the item
    variance += noise[attribute] + (0.5 * heeded if item_id == "i2" else 0.0)
    return min(max(expected, 0.0), 10.0), math.sqrt(variance)


def assert_by_hand(scores, mean, covariance, noise):
    for score in scores:
        for a, attribute in enumerate(("appearance", "health", "posture")):
            expected = by_hand(mean, covariance, noise, score.item_id, a)
            got = score.mean[attribute], score.std[attribute]
            assert got == pytest.approx(expected, rel=1e-12)


def test_a_user_without_champion_gets_the_current_population_model(tmp_path, pack):
    scores = Scorer(Source(), tmp_path).score("zoe", ["i2", "i0", "i2"])
    assert [s.item_id for s in scores] == ["i2", "i0", "i2"]
    assert {(s.model, s.version, s.population) for s in scores} == {("population", None, NEW)}
    prior = POPULATIONS[NEW].prior
    assert_by_hand(scores, prior.mean[0], prior.covariance[0], prior.noise)


def test_a_champion_is_read_on_the_population_it_was_trained_on(tmp_path, pack):
    source = Source(bob=Pointer("bob", 3, pack, 1, OLD))
    scores = Scorer(source, tmp_path).score("bob", ["i0", "i1", "i2"])
    assert {(s.model, s.version, s.population) for s in scores} == {("personal", 3, OLD)}
    covariance = [[0.5, 0.0625, 0], [0.0625, 0.25, 0], [0, 0, 0.125]]
    assert_by_hand(scores, [4.0, 1.0, 0.25], covariance, POPULATIONS[OLD].prior.noise)


def test_an_earlier_version_can_be_asked_for(tmp_path, pack):
    earlier = {"bob@2": Pointer("bob", 2, pack, 1, OLD)}
    scorer = Scorer(Source(bob=Pointer("bob", 3, "f" * 64, 0, NEW), **earlier), tmp_path)
    scores = scorer.score("bob", ["i1"], version=2)
    assert [(s.model, s.version, s.population) for s in scores] == [("personal", 2, OLD)]
    with pytest.raises(NotFoundError, match="'bob' has no version 4"):
        scorer.score("bob", ["i1"], version=4)


def test_a_pointer_to_another_users_row_is_refused(tmp_path, pack):
    swapped = {"ann": Pointer("ann", 1, pack, 1, OLD), "ann@1": Pointer("bob", 1, pack, 1, OLD)}
    scorer = Scorer(Source(**swapped), tmp_path)
    with pytest.raises(PackError, match="does not belong"):
        scorer.score("ann", ["i0"])
    with pytest.raises(PackError, match="does not belong"):
        scorer.score("ann", ["i0"], version=1)


def test_items_are_named_that_cannot_be_scored(tmp_path, pack):
    scorer = Scorer(Source(), tmp_path)
    with pytest.raises(NotFoundError, match=r"1 item \('x9'\) unknown"):
        scorer.score("zoe", ["i0", "x9", "i7"])
    with pytest.raises(NotFoundError, match=r"2 items \('i8', 'i7'\).*\n.*`paaplus embed`"):
        scorer.score("zoe", ["i0", "i8", "i7", "i8"])
    with pytest.raises(NotFoundError, match=r"9 items .*'x4', …\)"):
        scorer.score("zoe", [f"x{i}" for i in range(9)])


def test_without_a_population_model_the_remedy_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"remedy: run `paaplus"):
        Scorer(Source(current=None), tmp_path).score("zoe", ["i0"])


def test_no_items_is_no_scores(tmp_path, pack):
    assert Scorer(Source(), tmp_path).score("zoe", []) == []


def test_files_are_read_again_after_clear(tmp_path, pack):
    scorer = Scorer(Source(ann=Pointer("ann", 1, pack, 0, OLD)), tmp_path)
    before = scorer.score("ann", ["i0"])
    pack_path(tmp_path, pack).unlink()
    assert scorer.score("ann", ["i0"]) == before
    scorer.clear()
    with pytest.raises(PackError, match="no such file"):
        scorer.score("ann", ["i0"])


def test_scoring_imports_nothing_that_trains():
    code = (
        "import sys, paaplus.scoring\n"
        "slow = ('torch', 'avalanche', 'mlflow', 'pandas', 'kafka')\n"
        "print([m for m in slow if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
