"""Versions of registered models: found by what they point at, made with all tags in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
"""Error codes that stores give for an alias or a model that is not there."""


def ensure_model(client: MlflowClient, name: str, tags: Mapping[str, str]) -> bool:
    """Make the registered model; whether it is new."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, tags=dict(tags))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def versions_of(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions of a model. Their `aliases` are empty: MLflow does not search those."""
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", 1000, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def find_version(
    versions: Sequence[ModelVersion], source: str | None, tag: str, value: int | None = None
) -> ModelVersion | None:
    """The newest version with that source (None: any), and that value of the tag (None: any)."""
    matching = [
        version
        for version in versions
        if (source is None or version.source == source)
        and (value is None or version.tags.get(tag) == str(value))
    ]
    return max(matching, key=lambda version: int(version.version), default=None)


def create_version(
    client: MlflowClient, name: str, source: str, run_id: str | None, tags: Mapping[str, str]
) -> ModelVersion:
    """A version without artifacts of its own. Tags go along: one by one they cost a call each."""
    return client.create_model_version(
        name, source, run_id=run_id, tags=dict(tags), await_creation_for=0
    )


def version_by_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version that an alias points at; None if there is no such model or alias."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return None
