"""A head, or a pack, as the files of an MLflow model directory: data only, no code, no pickle.

```
MLmodel                       which loader, which columns it takes and gives
data/model.json               what the tensors are
data/head.safetensors         a user's mean [A, m], covariance [A, m, m], noise [A], float64
data/pack.safetensors         the pack as it is (a release)
data/population.safetensors   the population model under it
```
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import save

from paaplus import __version__
from paaplus.errors import PackError
from paaplus.events import ATTRIBUTES
from paaplus.packs import open_pack, population_path
from paaplus.registry.names import PackAddress

FORMAT = 1
"""Version of these files; the loader refuses every other."""

LOADER = "paaplus.registry.pyfunc"


def model_files(root: Path, address: PackAddress, mlflow_version: str) -> dict[str, bytes | Path]:
    """The files of a model by their names: content, or a file to copy.

    Args:
        root: The artifacts folder.
        address: A user's row, or a whole pack.
        mlflow_version: For MLflow's own records in `MLmodel`.

    Raises:
        PackError: A damaged or absent file, or another user's row.
    """
    pack = open_pack(root, address.sha)
    population = population_path(root, pack.manifest["population"])
    if not population.is_file():
        raise PackError(
            f"{population}: there is no such population model",
            "restore the artifacts folder; packs are of no use without it",
        )
    about: dict[str, Any] = {
        "format": FORMAT,
        "code": __version__,
        "pack": address.sha,
        "population": pack.manifest["population"],
        "trunk": pack.manifest["trunk"],
    }
    data: bytes | Path
    if address.row is None or address.user_id is None:
        name, data = "data/pack.safetensors", pack.path
        about["kind"] = "release"
    else:
        head = pack.head(address.row, address.user_id)
        name = "data/head.safetensors"
        tensors = {"mean": head.mean, "covariance": head.covariance}
        if head.noise is not None:
            tensors["noise"] = head.noise
        data = save(tensors)
        about |= {"kind": "user", "row": address.row, "user_id": address.user_id}
    return {
        "MLmodel": _mlmodel(about, mlflow_version).encode(),
        "data/model.json": json.dumps(about, sort_keys=True).encode(),
        name: data,
        "data/population.safetensors": population,
    }


def _mlmodel(about: dict[str, Any], mlflow_version: str) -> str:
    columns = [
        {"type": "string", "name": "item_id", "required": True},
        {
            "type": "array",
            "items": {"type": "double"},
            "name": "features",
            "required": True,
        },
    ]
    if about["kind"] == "release":
        # A column and not a parameter: MLflow fills an omitted parameter with its default, and
        # serves whoever that is.
        columns.insert(0, {"type": "string", "name": "user_id", "required": True})
    outputs = [{"type": "double", "name": name, "required": True} for name in output_columns()]
    model = {
        "flavors": {
            "python_function": {
                "loader_module": LOADER,
                "data": "data",
                "python_version": platform.python_version(),
            }
        },
        "metadata": {f"paaplus.{key}": value for key, value in sorted(about.items())},
        "mlflow_version": mlflow_version,
        "signature": {
            "inputs": json.dumps(columns),
            "outputs": json.dumps(outputs),
            "params": None,
        },
    }
    return yaml.safe_dump(model)


def output_columns() -> list[str]:
    """Columns of a prediction: mean by attribute, then standard deviation by attribute."""
    return [*ATTRIBUTES, *(f"{attribute}_std" for attribute in ATTRIBUTES)]
