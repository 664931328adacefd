"""A fit that goes on where the last one stood ends where a fit from nothing does."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.population import ItemFeatures, Population, Ratings, fit_population
from paaplus.population.choose import Start
from paaplus.population.items import principal_components
from paaplus.population.prior import HEAD
from paaplus.population.warm import warm_start

USERS, ITEMS, WIDTH, EACH = 120, 150, 8, 40


def world(share: float, seed: int = 0) -> tuple[Ratings, ItemFeatures]:
    """The first share of everybody's ratings; what people think does not depend on it."""
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(ITEMS, WIDTH)) * np.geomspace(2, 0.5, WIDTH)).astype(np.float32)
    shared, own = (
        rng.normal(size=WIDTH),
        rng.normal(size=(USERS, WIDTH)) * np.geomspace(1, 0.1, WIDTH),
    )
    asked = np.stack([rng.permutation(ITEMS)[:EACH] for _ in range(USERS)])
    noise = 0.7 * rng.normal(size=asked.shape)
    mean = rng.normal(size=(USERS, 1))
    felt = np.einsum("unf,uf->un", vectors[asked], 0.4 * shared + 0.6 * own)
    scores = np.clip(5 + mean + felt + noise, 0, 10)[:, : round(share * EACH)]
    asked = asked[:, : scores.shape[1]]
    table = np.full((scores.size, 3), np.nan)
    table[:, 0] = scores.reshape(-1)
    ids = np.array([f"i{n:03d}" for n in range(ITEMS)], dtype=object)
    names = np.array([f"u{n:03d}" for n in range(USERS)], dtype=object)
    owner = np.repeat(np.arange(USERS), scores.shape[1])
    return Ratings(names[owner], ids[asked.reshape(-1)], table), ItemFeatures(ids, vectors)


@pytest.fixture(scope="module")
def last() -> Population:
    return fit_population(*world(0.6), trunk="given", seed=0)


def test_it_ends_where_a_fit_from_nothing_does(last: Population) -> None:
    cold = fit_population(*world(1.0), trunk="given", seed=0)
    warm = fit_population(*world(1.0), trunk="given", seed=0, last=last)
    ours, theirs = warm.report["appearance"], cold.report["appearance"]
    assert ours["form"] != "calibration"
    assert ours["densities"][ours["form"]] == pytest.approx(
        theirs["densities"][theirs["form"]], abs=0.005
    )
    # In the scores that heads may take, whatever the basis: their variance over users, per item.
    names, vectors = world(1.0)[1].item_ids.tolist(), world(1.0)[1].vectors
    spreads = [
        np.einsum("nm,mk,nk->n", rows, model.prior.covariance[0], rows)
        for model in (cold, warm)
        for rows in [model.rows(names, vectors)[:, 0]]
    ]
    np.testing.assert_allclose(spreads[1], spreads[0], rtol=0.2)
    assert len(ours["densities"]) < len(
        theirs["densities"]
    )  # only forms near the last one were tried


def test_the_start_says_what_the_last_prior_said(last: Population) -> None:
    items = world(1.0)[1]
    components = principal_components(items.vectors)
    unit = components.whiten(items.vectors, WIDTH)
    start = warm_start(last, "given", 0, items.vectors, unit)
    assert isinstance(start, Start)
    rows = last.rows(items.item_ids.tolist(), items.vectors)[:, 0]
    was = np.einsum(
        "nm,mk,nk->n", rows[:, HEAD:], last.prior.covariance[0, HEAD:, HEAD:], rows[:, HEAD:]
    )
    least = np.linalg.eigvalsh(last.prior.covariance[0, HEAD:, HEAD:])[0]
    now = np.einsum("nm,mk,nk->n", unit, start.prior.covariance[HEAD:, HEAD:], unit)
    np.testing.assert_allclose(now - least * (unit**2).sum(axis=1), was, rtol=1e-3)


def test_it_begins_anew_on_other_features_and_where_no_taste_was_found(last: Population) -> None:
    items = world(1.0)[1]
    unit = principal_components(items.vectors).whiten(items.vectors, WIDTH)
    assert warm_start(None, "given", 0, items.vectors, unit) is None
    assert warm_start(last, "other", 0, items.vectors, unit) is None
    assert warm_start(last, "given", 1, items.vectors, unit) is None  # nobody rated health
    cold = fit_population(*world(1.0), trunk="other", seed=0)
    assert fit_population(*world(1.0), trunk="other", seed=0, last=last).version == cold.version
