"""The section `population` of the configuration: when the model of everybody is fitted, and on what."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from paaplus.population.weights import DailyCaps


class PopulationSection(BaseModel):
    """The model of everybody, that heads start from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fit: Literal["auto", "manual"] = Field("auto", description="auto: `run` fits the first version")
    min_ratings: int = Field(1000, ge=100, description="auto waits for that many ratings")
    refit_growth: float | None = Field(
        None, gt=0, description="auto: fit again when ratings grew by this share; null: never"
    )
    warm_start: bool = Field(
        True, description="go on from the last model of the same features; false: begin anew"
    )
    user_daily_cap: int | None = Field(
        500, ge=0, description="weight of a user's ratings of one day, in ratings; 0 or null: any"
    )
    item_daily_cap: int | None = Field(
        1000, ge=0, description="weight of an item's ratings of one day, in ratings; 0 or null: any"
    )
    seed: int = Field(0, ge=0)

    def caps(self) -> DailyCaps:
        """Caps on what the ratings of a day say of items."""
        return DailyCaps(self.user_daily_cap, self.item_daily_cap)
