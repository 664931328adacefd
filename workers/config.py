"""The configuration: YAML page, then `PAAPLUS_…` variables, then the command line. Only workers read it.

Every key has a default that works on one machine with nothing installed; `paaplus config show` prints what
is in force. Nested keys take two underscores in the environment, as in `PAAPLUS_STRATEGY__NAME=replay_ewc`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from paaplus.errors import ConfigError
from paaplus.promotion import GateThresholds
from paaplus.store import StoreSettings
from workers.population_config import PopulationSection
from workers.strategy_config import StrategySection
from workers.trigger_config import TriggerSection

Fraction = Annotated[float, Field(ge=0.0, le=0.9)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSection(_Section):
    """Where events come from."""

    url: str = Field("", description="sqlite:///path, file:///path.jsonl or kafka://host:port")
    partitions: int = Field(6, ge=1, le=10_000, description="partitions of a log made by us")
    group: str = Field("paaplus-ingest", description="Kafka consumer group")


class StoreSection(_Section):
    """Where the truth is kept. The last three are fixed when the store is made."""

    url: str = Field("", description="sqlite:///path or postgresql+psycopg://…")
    holdout_fraction: Fraction = Field(0.2, description="share of ratings never learned from")
    holdout_by: Literal["item", "event"] = Field("item", description="keep whole items or pairs")
    cohorts: int = Field(1, ge=1, le=9999, description="units of work the users are spread over")

    def settings(self) -> StoreSettings:
        """What is fixed for the store."""
        return StoreSettings(self.holdout_fraction, self.holdout_by, self.cohorts)


class CommentSection(_Section):
    """What reads comments; each is read once, when it is ingested."""

    analyser: str = Field("lexicon", description="`lexicon`, or an installed entry point's name")


class TrunkSection(_Section):
    """What turns a picture into a feature vector."""

    name: str = Field(
        "tf_efficientnet_lite0", description="a trunk, or `given`: item events carry it"
    )
    images: Path | None = Field(None, description="the only folder that pictures are read from")
    batch_size: int = Field(32, ge=1, le=4096)
    device: str = Field("cpu")


class GateSection(_Section):
    """When a challenger becomes champion; see `paaplus.promotion`."""

    min_gain: float = Field(0.0, ge=0, description="held-out MAE it must gain, on 0..10")
    max_worse_probability: float = Field(
        0.5, ge=0, le=1, description="of being worse than calibration"
    )

    def build(self) -> GateThresholds:
        """The gate's own flat settings."""
        return GateThresholds(**self.model_dump())


class RegistrySection(_Section):
    """Where versions are published."""

    url: str = Field("", description="MLflow tracking and registry URI")
    enabled: bool = Field(True, description="false: the ledger alone")
    user_rows: Literal["all", "promoted", "off"] = Field("promoted")


class RunSection(_Section):
    """How `paaplus run` and `retrain` work."""

    poll_seconds: float = Field(1.0, gt=0, le=3600)
    max_records: int = Field(
        2000, ge=1, le=100_000, description="records in one ingest transaction"
    )
    users_per_round: int = Field(1024, ge=1, le=100_000, description="users trained together")
    lease_seconds: float = Field(60.0, ge=1, le=86_400)


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix="PAAPLUS_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    home: Path = Field(Path(".paaplus"), description="folder of everything that has no URL below")
    fleet: str = Field(
        "main", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="prefix of model names"
    )
    log: LogSection = LogSection()
    store: StoreSection = StoreSection()
    comments: CommentSection = CommentSection()
    trunk: TrunkSection = TrunkSection()
    population: PopulationSection = PopulationSection()
    strategy: StrategySection = StrategySection()
    trigger: TriggerSection = TriggerSection()
    gate: GateSection = GateSection()
    registry: RegistrySection = RegistrySection()
    run: RunSection = RunSection()

    @property
    def log_url(self) -> str:
        """The log's URL."""
        return self.log.url or f"sqlite:///{self.home}/log.db"

    @property
    def store_url(self) -> str:
        """The store's URL."""
        return self.store.url or f"sqlite:///{self.home}/store.db"

    @property
    def registry_url(self) -> str:
        """MLflow's URL."""
        return self.registry.url or f"sqlite:///{self.home.resolve()}/mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Folder of packs, population models and reports."""
        return self.home / "artifacts"

    @property
    def images(self) -> Path:
        """The only folder that pictures are read from."""
        return self.trunk.images or self.home / "images"


def load_config(path: Path | None = None, **overrides: Any) -> Config:
    """Read the configuration.

    Args:
        path: A YAML page; None for the defaults.
        **overrides: From the command line, e.g. `home=…` or `log={"url": …}`; None is left out.

    Raises:
        ConfigError: The page cannot be read, or a key is unknown or wrong; all faults are listed.
    """
    page: dict[str, Any] = {}
    if path is not None:
        try:
            page = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"config {path}: {error}", "name a readable YAML file") from error
        if not isinstance(page, dict):
            raise ConfigError(f"config {path}: not a mapping of keys", "see configs/local.yaml")
    given = {key: value for key, value in overrides.items() if value is not None}

    class Sources(Config):
        """The command line goes over the environment, and that over the page."""

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, page)

    try:
        return Sources(**given)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'config'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise ConfigError(
            f"config {path or '(defaults and environment)'}: {faults}",
            "`paaplus config show` prints every key with its default",
        ) from error
