"""Open the configured feature store.

The platform and the serving environment import this module, so Feast and Polars are imported where
they are used. The online store skips a row that is not newer than the stored one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recsys_assets.lib.feature_store.feast_import import import_feast, import_without_checks
from recsys_assets.lib.feature_store.views import FeatureStoreError
from recsys_assets.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from feast import FeatureStore

T = TypeVar("T")


def substitute(values: T, variables: Mapping[str, str], source: str) -> T:
    """Replace every ``${NAME}`` in the texts of parsed YAML.

    Args:
        values: the parsed YAML.
        variables: name → value.
        source: the file's name, for messages.

    Raises:
        FeatureStoreError: names the variables without a value.
    """
    # In JSON, a value is escaped, so that a password cannot change the structure.
    text = json.dumps(values)
    missing = sorted({name for name in re.findall(r"\$\{(\w+)\}", text) if name not in variables})
    if missing:
        raise FeatureStoreError(
            f"{source} needs {', '.join(missing)}: set {'them' if len(missing) > 1 else 'it'} "
            f"in the environment"
        )
    replaced: T = json.loads(
        re.sub(r"\$\{(\w+)\}", lambda match: json.dumps(variables[match[1]])[1:-1], text)
    )
    return replaced


def store_config(
    settings: Settings, *, online_only: bool = False, timeout_ms: int | None = None
) -> dict[str, Any]:
    """Return feature_store.yaml of the configured target, with variables replaced.

    Args:
        settings: name the target and the stores.
        online_only: leave out the offline store (the serving environment has no DuckDB).
        timeout_ms: limit of each call to the online store. It also switches off redis-py's
            retries, which would multiply the limit.

    Raises:
        FeatureStoreError: a variable has no value, or Feast cannot carry the password.
    """
    import yaml

    name = (
        "feature_store.yaml"
        if settings.target == "local"
        else f"feature_store.{settings.target}.yaml"
    )
    path = PROJECT_ROOT / "feature_repo" / name
    config: dict[str, Any] = substitute(
        yaml.safe_load(path.read_text("utf-8")), settings.environment(), f"feature_repo/{name}"
    )
    options = []
    if settings.valkey_tls and "ssl=" not in config["online_store"]["connection_string"]:
        options.append("ssl=true")
    if settings.valkey_password is not None:
        password = _option(settings.valkey_password.get_secret_value())
        if "password=" not in config["online_store"]["connection_string"]:
            options.append(f"password={password}")
    if timeout_ms is not None:
        seconds = timeout_ms / 1000
        options += [f"socket_timeout={seconds}", f"socket_connect_timeout={seconds}", "retry=null"]
    config["online_store"]["connection_string"] = ",".join(
        [config["online_store"]["connection_string"], *options]
    )
    if online_only:
        config["offline_store"] = {"type": "dask"}
    return config


def _option(password: str) -> str:
    """Return the password if Feast's connection string can carry it.

    Raises:
        FeatureStoreError: Feast would read another password.
    """
    try:
        # Feast reads values as JSON: 12345 is unchanged, 1e5 and true are not.
        read = str(json.loads(password))
    except json.JSONDecodeError:
        read = password
    if "," in password or read != password:
        raise FeatureStoreError(
            "RECSYS_VALKEY_PASSWORD holds a comma or reads as JSON, which Feast's connection "
            "string cannot carry: choose another password"
        )
    return password


def open_store(
    settings: Settings, *, online_only: bool = False, timeout_ms: int | None = None
) -> FeatureStore:
    """Open the configured store.

    Args:
        settings: see ``store_config``.
        online_only: see ``store_config``.
        timeout_ms: see ``store_config``.

    Raises:
        FeatureStoreError: with ``online_only``, the registry is missing. Feast itself would write
            an empty one.
    """
    if online_only:
        import_without_checks()
    import_feast()
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

    config = store_config(settings, online_only=online_only, timeout_ms=timeout_ms)
    registry = config["registry"]["path"]
    if "://" not in registry:
        if online_only and not Path(registry).exists():
            raise FeatureStoreError(
                f"Feast's registry {registry} is missing: materialise feature_store/definitions "
                f"first"
            )
        Path(registry).parent.mkdir(parents=True, exist_ok=True)
    return FeatureStore(config=RepoConfig(**config))
