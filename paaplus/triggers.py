"""When a user is due: pure functions of what the store knows, and why in words.

A trigger looks at one user's facts and says why it fires, or why it does not. `AnyOf` fires with the first
that does, `AllOf` when all do; they nest. Names as in Modyn's triggering policies (Böther et al. 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from cronsim import CronSim, CronSimError

from paaplus.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to know of one user.

    Attributes:
        waiting: Observations that the head has not learned, >= 0.
        learned: Observations that it has.
        since: When the oldest waiting one occurred; None if nothing waits.
        error: MAE (0..10) of the live head on the newest experience, before it learned it; None: no
            experience yet.
        usual: Mean of that over earlier experiences, and `spread` its standard deviation; None: too few.
        spread: See `usual`.
        trained: Users trained in the last hour, by all workers.
    """

    waiting: int
    learned: int
    since: datetime | None = None
    error: float | None = None
    usual: float | None = None
    spread: float | None = None
    trained: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trigger fires, and why or why not."""

    fires: bool
    why: str


class Trigger(Protocol):
    """Decides when a user is due."""

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Whether it fires for this user at this time."""

    @property
    def fewest(self) -> int:
        """Waiting observations below which it never fires, >= 0."""


@dataclass(frozen=True, slots=True)
class Count:
    """So many observations wait."""

    count: int

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Fires from `count` on."""
        return Verdict(facts.waiting >= self.count, f"{facts.waiting} of {self.count} wait")

    @property
    def fewest(self) -> int:
        """The count."""
        return self.count


@dataclass(frozen=True, slots=True)
class Age:
    """The oldest waiting observation is that old."""

    hours: float

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Fires when something waits for `hours`."""
        if facts.since is None:
            return Verdict(False, "nothing waits")
        age = (now - facts.since) / timedelta(hours=1)
        return Verdict(age >= self.hours, f"the oldest waits for {age:.1f} of {self.hours:g} hours")

    @property
    def fewest(self) -> int:
        """One."""
        return 1


@dataclass(frozen=True, slots=True)
class Cron:
    """A scheduled time has passed since the oldest waiting observation.

    Args:
        schedule: Five fields as of cron, in UTC, e.g. `0 3 * * *`.
    """

    schedule: str

    def __post_init__(self) -> None:
        try:
            CronSim(self.schedule, datetime(2026, 1, 1))
        except CronSimError as error:
            raise ConfigError(
                f"trigger: {self.schedule!r} is no cron schedule ({error})",
                "write five fields, e.g. 0 3 * * * for every night at three",
            ) from error

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Fires when a time of the schedule lies between the oldest observation and now."""
        if facts.since is None:
            return Verdict(False, "nothing waits")
        following = next(CronSim(self.schedule, facts.since))
        return Verdict(following <= now, f"the schedule's next time is {following:%Y-%m-%d %H:%M}")

    @property
    def fewest(self) -> int:
        """One."""
        return 1


@dataclass(frozen=True, slots=True)
class Drift:
    """The newest experience was predicted worse than usual by so many standard deviations."""

    deviations: float

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Fires when something waits and the last error stands out."""
        if facts.error is None or facts.usual is None or facts.spread is None:
            return Verdict(False, "too few experiences to tell drift")
        off = (facts.error - facts.usual) / max(facts.spread, 1e-3)
        why = f"the last error is {off:+.1f} deviations off, {self.deviations:g} are drift"
        return Verdict(facts.waiting > 0 and off >= self.deviations, why)

    @property
    def fewest(self) -> int:
        """One."""
        return 1


@dataclass(frozen=True, slots=True)
class Performance:
    """The newest experience was predicted with at least this MAE, on 0..10."""

    mae: float

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Fires when something waits and the live head is that bad."""
        if facts.error is None:
            return Verdict(False, "no experience was predicted yet")
        why = f"the last experience was {facts.error:.2f} off, the limit is {self.mae:g}"
        return Verdict(facts.waiting > 0 and facts.error >= self.mae, why)

    @property
    def fewest(self) -> int:
        """One."""
        return 1


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A new user learns from every observation until so many are learned."""

    observations: int

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Fires while the head has learned fewer."""
        why = f"{facts.learned} of the {self.observations} of the warm-up are learned"
        return Verdict(facts.waiting > 0 and facts.learned < self.observations, why)

    @property
    def fewest(self) -> int:
        """One."""
        return 1


@dataclass(frozen=True, slots=True)
class Cost:
    """The budget of the hour is not spent; to be used in `AllOf`."""

    users_per_hour: int

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Fires while fewer users were trained in the last hour."""
        why = f"{facts.trained} of {self.users_per_hour} users were trained in the last hour"
        return Verdict(facts.trained < self.users_per_hour, why)

    @property
    def fewest(self) -> int:
        """None: it says nothing of the user."""
        return 0


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Fires with the first of its triggers that does."""

    triggers: Sequence[Trigger]

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Why it fires, or why none does."""
        verdicts = [trigger.judge(facts, now) for trigger in self.triggers]
        firing = [verdict.why for verdict in verdicts if verdict.fires]
        if firing:
            return Verdict(True, firing[0])
        return Verdict(False, "; ".join(v.why for v in verdicts) or "there is no trigger")

    @property
    def fewest(self) -> int:
        """Of the least demanding."""
        return min((trigger.fewest for trigger in self.triggers), default=0)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Fires when all of its triggers do."""

    triggers: Sequence[Trigger]

    def judge(self, facts: Facts, now: datetime) -> Verdict:
        """Why it fires, or what is missing."""
        verdicts = [trigger.judge(facts, now) for trigger in self.triggers]
        missing = [verdict.why for verdict in verdicts if not verdict.fires]
        if missing or not verdicts:
            return Verdict(False, "; ".join(missing) or "there is no trigger")
        return Verdict(True, "; ".join(verdict.why for verdict in verdicts))

    @property
    def fewest(self) -> int:
        """Of the most demanding."""
        return max((trigger.fewest for trigger in self.triggers), default=0)
