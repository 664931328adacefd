"""The section `trigger` of the configuration: what makes a user due.

```yaml
trigger:
  any:
    - count: 10
    - all: [{age_hours: 6}, {users_per_hour: 5000}]
    - warm_up: 5
```
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paaplus import triggers


class TriggerSection(BaseModel):
    """What makes a user due; exactly one key, or none for a whole experience that waits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    any: tuple[TriggerSection, ...] | None = Field(
        None, min_length=1, description="one of these is enough"
    )
    all: tuple[TriggerSection, ...] | None = Field(
        None, min_length=1, description="all of these are needed"
    )
    count: int | None = Field(None, ge=1, description="so many observations wait")
    age_hours: float | None = Field(None, gt=0, description="the oldest waits that long")
    cron: str | None = Field(None, description="a time of this schedule (UTC) has passed")
    drift: float | None = Field(None, gt=0, description="standard deviations of the last error")
    performance: float | None = Field(None, gt=0, le=10, description="MAE of the last experience")
    warm_up: int | None = Field(None, ge=1, description="every event, until so many are learned")
    users_per_hour: int | None = Field(None, ge=1, description="a budget, for use in `all`")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given} together: put them into `any` or `all`")
        self.build()
        return self

    def build(self) -> triggers.Trigger | None:
        """The trigger; None if no key is given."""
        makers = {
            "count": triggers.Count,
            "age_hours": triggers.Age,
            "cron": triggers.Cron,
            "drift": triggers.Drift,
            "performance": triggers.Performance,
            "warm_up": triggers.WarmUp,
            "users_per_hour": triggers.Cost,
        }
        for name, maker in makers.items():
            value = getattr(self, name)
            if value is not None:
                made: triggers.Trigger = maker(value)
                return made
        for parts, combine in ((self.any, triggers.AnyOf), (self.all, triggers.AllOf)):
            if parts is not None:
                built = [part.build() for part in parts]
                return combine([trigger for trigger in built if trigger is not None])
        return None
