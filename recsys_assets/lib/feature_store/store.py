"""Opens the configured feature store.

Imported by the platform and by the serving environment; so Feast and Polars are imported where they
are used. Online values never go back in time: the online store skips a row that is not newer than
the stored one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_assets.lib.feature_store.feast_import import import_without_checks
from recsys_assets.lib.feature_store.views import FeatureStoreError
from recsys_assets.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from feast import FeatureStore


def substitute(values: Any, variables: Mapping[str, str], source: str) -> Any:
    """``values`` (parsed YAML) with every ``${NAME}`` of its texts replaced.

    Raises FeatureStoreError naming the variables that have no value.
    """
    text = json.dumps(
        values
    )  # one text to search; a value is escaped, so that no password can break out of its place
    missing = sorted({name for name in re.findall(r"\$\{(\w+)\}", text) if name not in variables})
    if missing:
        raise FeatureStoreError(
            f"{source} needs {', '.join(missing)}: set {'them' if len(missing) > 1 else 'it'} "
            f"in the environment"
        )
    return json.loads(
        re.sub(r"\$\{(\w+)\}", lambda match: json.dumps(variables[match[1]])[1:-1], text)
    )


def store_config(
    settings: Settings, *, online_only: bool = False, timeout_ms: int | None = None
) -> dict[str, Any]:
    """feature_store.yaml of the configured target as a mapping, with every ${…} replaced.

    ``online_only`` drops the offline store (the serving environment has no DuckDB). ``timeout_ms``
    limits each call on the online store and switches redis-py's own retries off, which would
    multiply the limit.
    """
    import yaml

    name = (
        "feature_store.yaml"
        if settings.target == "local"
        else f"feature_store.{settings.target}.yaml"
    )
    path = PROJECT_ROOT / "feature_repo" / name
    config = substitute(
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
    """The password as a value of Feast's connection string; raises FeatureStoreError where Feast
    would read another.
    """
    try:
        read = str(
            json.loads(password)
        )  # as Feast does: 12345 stays what it is, 1e5 and true do not
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
    """The configured store; see ``store_config`` for the two options that serving sets.

    Raises FeatureStoreError where ``online_only`` and nothing was applied: Feast itself would write
    an empty registry.
    """
    if online_only:
        import_without_checks()
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
