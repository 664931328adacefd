"""Triggers: each fires when it says, combinations are those of logic, and all say why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.errors import ConfigError
from paaplus.triggers import (
    Age,
    AllOf,
    AnyOf,
    Cost,
    Count,
    Cron,
    Drift,
    Facts,
    Performance,
    Trigger,
    WarmUp,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BASE = Facts(waiting=3, learned=20, since=NOW - timedelta(hours=5))


@pytest.mark.parametrize(
    ("trigger", "yes", "no"),
    [
        (Count(3), BASE, replace(BASE, waiting=2)),
        (Age(5), BASE, replace(BASE, since=NOW - timedelta(hours=4))),
        (Age(5), BASE, replace(BASE, waiting=0, since=None)),
        (Cron("0 9 * * *"), BASE, replace(BASE, since=NOW - timedelta(hours=2))),
        (Cron("*/10 * * * *"), BASE, replace(BASE, since=None)),
        (
            Drift(2),
            replace(BASE, error=2.0, usual=1.0, spread=0.5),
            replace(BASE, error=1.9, usual=1.0, spread=0.5),
        ),
        (Drift(2), replace(BASE, error=9.0, usual=1.0, spread=0.0), replace(BASE, error=9.0)),
        (Performance(1.5), replace(BASE, error=1.5), replace(BASE, error=1.4)),
        (Performance(1.5), replace(BASE, error=2.0), replace(BASE, error=2.0, waiting=0)),
        (WarmUp(30), BASE, replace(BASE, learned=30)),
        (Cost(10), replace(BASE, trained=9), replace(BASE, trained=10)),
    ],
)
def test_each_fires_when_it_says(trigger: Trigger, yes: Facts, no: Facts) -> None:
    assert trigger.judge(yes, NOW).fires
    assert not trigger.judge(no, NOW).fires
    assert trigger.judge(yes, NOW).why
    assert trigger.judge(no, NOW).why


facts = st.builds(
    Facts,
    waiting=st.integers(0, 20),
    learned=st.integers(0, 50),
    since=st.one_of(st.none(), st.integers(0, 100).map(lambda h: NOW - timedelta(hours=h))),
    error=st.one_of(st.none(), st.floats(0, 10)),
    usual=st.one_of(st.none(), st.floats(0, 10)),
    spread=st.one_of(st.none(), st.floats(0, 3)),
    trained=st.integers(0, 20),
).map(lambda f: replace(f, since=f.since if f.waiting else None))
leaves = st.one_of(
    st.integers(1, 15).map(Count),
    st.floats(0.5, 50).map(Age),
    st.sampled_from(["0 3 * * *", "*/5 * * * *"]).map(Cron),
    st.floats(0.5, 4).map(Drift),
    st.floats(0.5, 5).map(Performance),
    st.integers(1, 40).map(WarmUp),
    st.integers(1, 20).map(Cost),
)
triggers = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3).flatmap(
        lambda some: st.sampled_from([AnyOf(some), AllOf(some)])
    ),
    max_leaves=6,
)


@given(triggers, facts)
def test_combinations_are_those_of_logic_and_always_say_why(trigger: Trigger, f: Facts) -> None:
    verdict = trigger.judge(f, NOW)
    if isinstance(trigger, AnyOf):
        assert verdict.fires == any(t.judge(f, NOW).fires for t in trigger.triggers)
    if isinstance(trigger, AllOf):
        inner = [t.judge(f, NOW).fires for t in trigger.triggers]
        assert verdict.fires == (all(inner) and bool(inner))
    assert verdict.why


@given(triggers, facts)
def test_none_fires_below_its_fewest(trigger: Trigger, f: Facts) -> None:
    # The store asks only for users with so many waiting: nobody may be missed by that.
    if f.waiting < trigger.fewest:
        assert not trigger.judge(f, NOW).fires


@pytest.mark.parametrize("schedule", ["", "0 3 * *", "61 * * * *", "every night"])
def test_a_schedule_that_is_none_is_refused(schedule: str) -> None:
    with pytest.raises(ConfigError, match="cron"):
        Cron(schedule)
