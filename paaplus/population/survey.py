"""What a user's answers say of their taste before the first rating: a shift of the prior's mean.

In whitened coordinates v, w = mean + L v, the prior is N(0, 1); users' v, estimated from their ratings, are
regressed on their answers (numbers standardised, words as indicators, the five entries of the preference
vector as numbers). The estimates are shrunk, so slopes are divided by their reliability; each answer's slopes
are then shrunk by empirical Bayes, and an answer whose slopes look like chance is dropped.

One survey is one observation: the row x = L^-T b with b the shift, whose exact update moves the mean by b
and no further, and makes v surer along b by the share that the answers explain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.population.prior import Array

FEWEST_ANSWERS, MOST_COLUMNS = 30, 64
MOST_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class SurveyModel:
    """Slopes of whitened weights on F standardised answers.

    Attributes:
        columns: F of (question, answer); answer None: the number itself. A question that is an int is that
            entry of the preference vector.
        centre: [F], subtracted first, and `scale` [F], multiplied then.
        scale: See `centre`.
        slopes: [A, m, F].
        power: [A], factor of an observation's weight, 0..1.
    """

    columns: tuple[tuple[str | int, str | None], ...]
    centre: Array
    scale: Array
    slopes: Array
    power: Array

    def rows(
        self, details: list[str], mean: Array, covariance: Array
    ) -> tuple[Array, Array, Array]:
        """Observations of N surveys.

        Args:
            details: N surveys as JSON, see `paaplus.observations`.
            mean: [A, m], and `covariance` [A, m, m] of the prior.
            covariance: See `mean`.

        Returns:
            Rows [N, A, m], targets [N, A], noise [N, A]; inf where the answers say nothing.
        """
        answers = (_table(details, self.columns) - self.centre) * self.scale
        answers = np.nan_to_num(answers)
        shift = np.einsum("amf,nf->nam", self.slopes, answers)
        size = np.einsum("nam,nam->na", shift, shift)
        share = np.minimum((self.slopes**2).sum(axis=1), MOST_SHARE)  # [A, F]
        parts = answers[:, None] ** 2 * share
        share_of = np.divide(
            (parts * share).sum(axis=2), parts.sum(axis=2), out=np.zeros(size.shape),
            where=parts.sum(axis=2) > 0,
        )  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = np.where(size > 0, size * (1 - share_of) / share_of, np.inf)
        roots = np.linalg.cholesky(covariance)
        rows = np.stack(
            [np.linalg.solve(root.T, shift[:, a].T).T for a, root in enumerate(roots)], axis=1
        )
        centre = np.einsum("nam,am->na", rows, mean)
        target = np.where(np.isfinite(noise), size + noise, 0.0) + centre
        with np.errstate(divide="ignore"):
            return rows, target, noise / self.power


def fit_survey(
    details: list[str], means: list[Array], covariances: list[Array], roots: Array
) -> SurveyModel | None:
    """Learn from U users what answers say; None if they say nothing.

    Args:
        details: U surveys as JSON.
        means: Per attribute [U, m], posterior means from ratings less the prior's mean.
        covariances: Per attribute [U, m, m], of them.
        roots: [A, m, m], Cholesky roots of the prior's covariance.
    """
    columns = _columns(details)
    if not columns:
        return None
    table = _table(details, columns)
    centre = np.nanmean(table, axis=0)
    spread = np.nanstd(table, axis=0)
    kept = spread > 1e-9
    columns = tuple(column for column, yes in zip(columns, kept, strict=True) if yes)
    if not columns:
        return None
    centre, scale = centre[kept], 1 / spread[kept]
    answers = np.nan_to_num((table[:, kept] - centre) * scale)
    slopes = np.stack(
        [_slopes(answers, *one) for one in zip(means, covariances, roots, strict=True)]
    )
    if not slopes.any():
        return None
    return SurveyModel(columns, centre, scale, slopes, np.ones(len(slopes)))


def _slopes(answers: Array, means: Array, covariance: Array, root: Array) -> Array:
    """[m, F] of one attribute."""
    inverse = np.linalg.inv(root)
    white = means @ inverse.T
    reliability = np.eye(len(root)) - inverse @ covariance.mean(axis=0) @ inverse.T
    gram = answers.T @ answers + np.eye(answers.shape[1])
    raw = np.linalg.solve(gram, answers.T @ white).T
    left = white - white.mean(axis=0) - answers @ raw.T
    freedom = max(len(answers) - answers.shape[1] - 1, 1)
    error = np.outer((left**2).sum(axis=0) / freedom, np.diag(np.linalg.inv(gram)))
    width = len(root)
    chance = width + 3 * np.sqrt(2 * width)
    strength = (raw**2 / np.maximum(error, 1e-12)).sum(axis=0)
    between = np.maximum((raw**2 - error).mean(axis=0), 0.0)
    shrunk = raw * between / np.maximum(between + error, 1e-12) * (strength > chance)
    found: Array = np.linalg.solve(reliability + 0.05 * np.eye(width), shrunk)
    # No answer explains more than all of the taste.
    size = np.linalg.norm(found, axis=0)
    bounded: Array = found * np.minimum(1.0, np.sqrt(MOST_SHARE) / np.maximum(size, 1e-12))
    return bounded


def _columns(details: list[str]) -> tuple[tuple[str | int, str | None], ...]:
    """What enough users answered, the most answered first."""
    counts: dict[tuple[str | int, str | None], int] = {}
    for detail in details:
        said = json.loads(detail)
        keys: list[tuple[str | int, str | None]] = [
            (question, value if isinstance(value, str) else None)
            for question, value in said["answers"].items()
        ]
        keys += [(n, None) for n in range(len(said["preference"] or ()))]
        for key in keys:
            counts[key] = counts.get(key, 0) + 1
    often = sorted((-n, str(key), key) for key, n in counts.items() if n >= FEWEST_ANSWERS)
    keys = [key for _, _, key in often]
    # The most usual word is what the others are told from: with it, indicators would add up to one.
    worded = [question for question, answer in keys if answer is not None]
    usual = {q: next(k for k in keys if k[0] == q) for q in worded if worded.count(q) > 1}
    most = min(MOST_COLUMNS, len(details) // 5)
    return tuple([key for key in keys if key not in usual.values()][:most])


def _table(details: list[str], columns: tuple[tuple[str | int, str | None], ...]) -> Array:
    """[U, F] of answers as numbers; NaN = not answered."""
    table = np.full((len(details), len(columns)), np.nan)
    for u, detail in enumerate(details):
        said = json.loads(detail)
        for f, (question, answer) in enumerate(columns):
            if isinstance(question, int):
                value: Any = (said["preference"] or [None] * 5)[question]
            else:
                value = said["answers"].get(question)
            if answer is not None and value is not None:
                table[u, f] = float(value == answer)
            elif isinstance(value, int | float):
                table[u, f] = float(value)
    return table
