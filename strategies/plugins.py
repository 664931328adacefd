"""Avalanche plugins (0.6.0) that are broken or silently wrong on regression, and why. Measured."""

from __future__ import annotations

from collections.abc import Iterable

from paaplus.errors import PluginRefusedError

REFUSED = {
    "SynapticIntelligencePlugin": "a silent no-op on CPU: its importances are all exactly 0",
    "RWalkPlugin": "makes parameters NaN from the second experience on",
    "LwFPlugin": "distils by softmax over classes, which scores do not have",
    "LFLPlugin": "needs class labels",
    "RARPlugin": "needs class labels",
    "DERPlugin": "uses cross-entropy on scores, whatever the criterion",
    "FeatureReplayPlugin": "needs class labels",
    "GDumbPlugin": "balances by class, and scores have none",
    "MIRPlugin": "balances by class, and scores have none",
    "GEMPlugin": "projects one gradient for all users: a cohort's users would touch each other",
    "AGEMPlugin": "projects one gradient for all users: a cohort's users would touch each other",
    "MASPlugin": "raises when a loss is exactly 0, and is not per user",
    "ReplayPlugin": "keeps one memory for the whole cohort: use the strategy `replay`",
    "EWCPlugin": "is not per user: use the strategy `ewc`",
    "EvaluationPlugin": "its accuracy and forgetting metrics mean nothing on scores",
}


def check_plugins(names: Iterable[str]) -> None:
    """Refuse plugins by name.

    No further plugin is known to be right on a cohort, so an unknown name is refused too: it would only
    seem to work.

    Raises:
        PluginRefusedError: With the reason.
    """
    for name in names:
        why = REFUSED.get(name, "nobody has shown that it is right on a cohort of regressions")
        raise PluginRefusedError(
            f"Avalanche plugin {name!r}: {why}", "leave it out of `strategy.plugins`"
        )
