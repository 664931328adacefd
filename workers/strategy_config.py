"""The section `strategy` of the configuration: how heads learn, and the key their states are kept under."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paaplus.errors import ConfigError
from strategies import STRATEGIES, StrategyConfig, check_plugins
from strategies.config import STATES

DEFAULT = StrategyConfig()


class StrategySection(BaseModel):
    """How heads learn. Keys from `learning_rate` on concern the strategies trained by Adam."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("exact_ewc")
    experience_size: int = Field(10, ge=1, le=10_000, description="ratings in one experience")
    form: Literal["full", "low_rank", "diagonal"] = Field(
        DEFAULT.form, description="how much of its Fisher information exact_ewc keeps"
    )
    rank: int = Field(DEFAULT.rank, ge=0, le=512, description="axes that low_rank keeps in full")
    forgetting: Literal["none", "fixed", "drift"] = Field(
        DEFAULT.forgetting,
        description="of exact_ewc in full: by half_life, or when a user's errors rise",
    )
    half_life: float = Field(
        DEFAULT.half_life, ge=1, le=1e6, description="ratings until old ones weigh half"
    )
    learning_rate: float = Field(DEFAULT.learning_rate, gt=0, le=1)
    epochs: int = Field(DEFAULT.epochs, ge=1, le=1000)
    batch_size: int = Field(DEFAULT.batch_size, ge=1, le=65_536)
    memory_size: int = Field(DEFAULT.memory_size, ge=1, le=65_536)
    memory_batch_size: int = Field(DEFAULT.memory_batch_size, ge=1, le=65_536)
    ewc_lambda: float = Field(DEFAULT.ewc_lambda, ge=0)
    ewc_decay: float = Field(DEFAULT.ewc_decay, gt=0, le=1)
    fisher: Literal["gaussian", "empirical"] = Field(
        DEFAULT.fisher, description="importances of EWC: of the model, or stock Avalanche's"
    )
    robust: float | None = Field(
        None, gt=0, description="degrees of freedom of a robust loss, e.g. 4; null: none"
    )
    seed: int = Field(DEFAULT.seed, ge=0)
    device: str = Field(DEFAULT.device, description="where heads are learned: cpu, cuda, cuda:1, …")
    plugins: tuple[str, ...] = Field((), description="further Avalanche plugins, by class name")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in STRATEGIES:
            raise ValueError(f"name: {self.name!r} is unknown; choose one of {sorted(STRATEGIES)}")
        if self.forgetting != "none" and (self.name, self.form) != ("exact_ewc", "full"):
            raise ValueError(f"forgetting: {self.forgetting!r} takes name: exact_ewc, form: full")
        try:
            check_plugins(self.plugins)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def build(self) -> StrategyConfig:
        """The strategy's own flat settings."""
        values = self.model_dump(exclude={"name", "experience_size", "robust", "plugins"})
        return StrategyConfig(**values)

    def key(self) -> str:
        """Name and a hash of everything that changes a head by more than rounding."""
        settings = self.model_dump(mode="json", exclude={"device"})
        text = json.dumps([STATES, settings], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
