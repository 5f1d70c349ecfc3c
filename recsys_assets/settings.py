"""One settings object; the only place that reads the environment (prefix ``RECSYS_``)."""

from __future__ import annotations

import secrets
import socket
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent
LOCAL_PORTS = (
    "valkey_port",
    "triton_http_port",
    "triton_grpc_port",
    "triton_metrics_port",
    "gateway_port",
    "dagster_port",
    "code_server_port",
)


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="RECSYS_", extra="ignore")

    home: Path = Field(PROJECT_ROOT / ".recsys", description="Holds everything that is generated.")
    scale: Literal["tiny", "demo", "seed"] = Field(
        "demo", description="Size of the simulated shop."
    )
    seed: int = Field(7, description="Seed of the simulator and of every training step.")
    catalogue: Path | None = Field(
        None, description="A products.yaml of the Retail Demo Store's form; None: simulated."
    )
    start_day: date | None = Field(
        None, description="First daily partition; None: so that 14 days end yesterday."
    )

    # stores
    artifacts_uri: str | None = Field(
        None, description="Where artifacts live: a folder or s3://…; None: home/artifacts."
    )
    landing_uri: str | None = Field(None, description="The landing zone; None: home/landing.")
    target: Literal["local", "aws"] = Field("local", description="Which feature_store.yaml.")
    valkey_host: str = "127.0.0.1"
    valkey_port: int = 6390
    valkey_tls: bool = False
    valkey_password: SecretStr | None = None
    store_timeout_ms: int = Field(
        20, description="Limit of one online store call while serving, milliseconds."
    )

    # the feature store on AWS (target aws)
    aws_region: str | None = Field(
        None, description="None: what the environment or the cluster injects."
    )
    feast_registry: str | None = Field(None, description="Feast's registry file on AWS, s3://….")
    feast_offline_uri: str | None = Field(
        None, description="Feast's offline tables, s3://…; None: home/feast/offline."
    )
    athena_data_source: str = "AwsDataCatalog"
    athena_database: str = "recsys"
    athena_workgroup: str = "primary"
    athena_staging_uri: str | None = Field(
        None, description="Where Athena writes its results, s3://…."
    )

    # addresses of the local parts
    triton_host: str = "127.0.0.1"
    triton_http_port: int = 8010
    triton_grpc_port: int = 8011
    triton_metrics_port: int = 8012
    triton_replicas: str = Field(
        "",
        description="host:port,… of every Triton replica's gRPC; dns:host:port "
        "stands for every address of that name; empty: the local one.",
    )
    model_repository_uri: Path | None = Field(
        None, description="The live model repository; None: home/model_repository."
    )
    triton_timeout_ms: int = Field(
        1000, description="Limit of one ranking call by the gateway, milliseconds."
    )
    triton_models: Literal["both", "fused", "ensemble"] = Field(
        "both",
        description="What Triton serves: one fused model, the 14 "
        "models and their ensemble, or both.",
    )
    gateway_in_flight: int = Field(
        8, ge=1, description="Ranking calls that the gateway has open at once."
    )
    shed_after_ms: int = Field(
        100,
        ge=1,
        description="Expected wait for such a call beyond which the gateway answers 429, "
        "milliseconds.",
    )
    rate_limit: float = Field(
        500,
        ge=0,
        allow_inf_nan=False,
        description="Requests a second of one client address, bursts of twice that; 0: no limit.",
    )
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8080
    dagster_host: str = "127.0.0.1"
    dagster_port: int = 3010
    code_server_port: int = 4010
    port_offset: int = Field(
        0,
        ge=0,
        description="Added to every port of a local part that is not set itself: a second home "
        "runs "
        "beside the first.",
    )
    token: SecretStr | None = Field(
        None, description="Bearer token on writes; may be absent on loopback only."
    )

    # where work runs
    executor: Literal["in_process", "multiprocess", "k8s"] = "in_process"
    training_python: Path = PROJECT_ROOT / ".venvs" / "training" / "bin" / "python"
    serving_python: Path = PROJECT_ROOT / ".venvs" / "serving" / "bin" / "python"
    training_image: str | None = Field(
        None, description="Image of the training pods (executor k8s)."
    )
    platform_image: str | None = Field(
        None, description="Image of the step pods; None: the code location's own."
    )
    k8s_namespace: str = "recsys"
    k8s_service_account: str = Field(
        "recsys-training", description="Identity of the training pods."
    )
    k8s_step_service_account: str = Field(
        "recsys-platform", description="Identity of the run and step pods."
    )
    k8s_shared_claim: str = Field(
        "recsys-shared", description="Volume that step and training pods share; holds home."
    )
    k8s_shared_dir: Path = Field(
        Path("/recsys"), description="Where that volume is mounted in both."
    )

    # models
    automation: bool = Field(
        False, description="Sensors are on from the start: new days are ingested and fine-tuned."
    )
    retrieval_topk: int = Field(300, ge=1, description="Candidates that retrieval hands on.")
    ranking_topk: int = Field(100, ge=1, description="Items that an answer holds at most.")
    diversity_mode: Literal["off", "sampling", "mmr"] = Field(
        "off",
        description="How an answer is varied: not; weighted "
        "sampling; maximal marginal relevance. true: sampling.",
    )
    mmr_lambda: float = Field(
        0.7, ge=0, le=1, description="Of diversity mmr: 1 is relevance alone, 0 is novelty alone."
    )
    category_cap: int = Field(
        0, ge=0, description="Items of one category_l1 in an answer at most; 0: no limit."
    )
    retrieval_weight: float = Field(
        6.0,
        ge=0,
        allow_inf_nan=False,
        description="How much retrieval's similarity counts "
        "beside the ranker's logit in the order of an answer; 0: the ranker alone.",
    )
    seen_days: int = Field(7, ge=1, description="For how many days an item counts as seen.")
    clip_checkpoint: str | None = Field(
        None, description="open_clip weights: a path, s3://… or a hub tag."
    )

    @field_validator("diversity_mode", mode="before")
    @classmethod
    def _as_reference(cls, value: object) -> object:
        """DIVERSITY_MODE=true of the reference is weighted sampling."""
        text = str(value).lower()
        return "sampling" if text in ("true", "1") else "off" if text in ("false", "0") else value

    @model_validator(mode="after")
    def _shift_ports(self) -> Settings:
        for name in LOCAL_PORTS:
            if name not in self.model_fields_set:
                setattr(self, name, getattr(self, name) + self.port_offset)
        return self

    @field_validator("home", "catalogue", "training_python", "serving_python", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # not resolve(): an environment's python is a link, and must stay inside its environment
        return value if value is None or value.is_absolute() else Path.cwd() / value

    @property
    def artifacts(self) -> str:
        return self.artifacts_uri or str(self.home / "artifacts")

    @property
    def landing(self) -> str:
        return self.landing_uri or str(self.home / "landing")

    @property
    def model_repository(self) -> Path:
        return self.model_repository_uri or self.home / "model_repository"

    @property
    def triton_grpc(self) -> list[str]:
        """host:port of every Triton replica that a promotion must reach; looked up anew at each
        call.
        """
        given = [a.strip() for a in self.triton_replicas.split(",") if a.strip()]
        return [a for entry in given for a in _resolve(entry)] or [
            f"{self.triton_host}:{self.triton_grpc_port}"
        ]

    @property
    def recommend_model(self) -> str:
        """Which of Triton's models an answer is asked of."""
        return "ensemble_model" if self.triton_models == "ensemble" else "recommender"

    @property
    def gateway_url(self) -> str:
        return f"http://{self.gateway_host}:{self.gateway_port}"

    def valkey_url(self, database: int) -> str:
        auth = f":{self.valkey_password.get_secret_value()}@" if self.valkey_password else ""
        return f"{'rediss' if self.valkey_tls else 'redis'}://{auth}{self.valkey_host}:{self.valkey_port}/{database}"

    def environment(self) -> dict[str, str]:
        """The same settings as variables, for child processes."""
        values: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            values[f"RECSYS_{name.upper()}"] = str(value)
        return values


def _resolve(replica: str) -> list[str]:
    """``dns:host:port``, a headless Service's name, → host:port of each of its pods; anything else
    is an address.
    """
    if not replica.startswith("dns:"):
        return [replica]
    host, _, port = replica.removeprefix("dns:").rpartition(":")
    found = {
        info[4][0]
        for info in socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_STREAM)
    }
    return [f"{address}:{port}" for address in sorted(found)]


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    return Settings()


def new_token() -> str:
    return secrets.token_urlsafe(32)


#: Valkey's databases.
FEAST_DATABASE, VISITOR_DATABASE, POPULARITY_DATABASE = 0, 1, 3
