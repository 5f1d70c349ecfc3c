"""Define all settings; only this module reads the variables ``RECSYS_…``."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from recsys_assets import local_time
from recsys_assets.addresses import resolve
from recsys_assets.ads_settings import AdsSettings
from recsys_assets.columns import INTEREST_EVENTS, EventType
from recsys_assets.compute_settings import ComputeSettings
from recsys_assets.drift_settings import DriftSettings
from recsys_assets.event_settings import EventSettings
from recsys_assets.schedule_settings import ScheduleSettings
from recsys_assets.source_names import SOURCE_NAMES

PROJECT_ROOT = Path(__file__).resolve().parent.parent
#: Days of the setting "auto" of ``seen_days``.
DEFAULT_SEEN_DAYS = 7
#: One place of a list in so many is reserved for new items: at most, and at least.
MOST_OFTEN, LEAST_OFTEN = 10, 50
LOCAL_PORTS = (
    "valkey_port",
    "triton_http_port",
    "triton_grpc_port",
    "triton_metrics_port",
    "gateway_port",
    "dagster_port",
    "code_server_port",
)


class Settings(ScheduleSettings, EventSettings, DriftSettings, AdsSettings, ComputeSettings):
    """The settings of one home; each field is the variable ``RECSYS_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_", extra="ignore")

    home: Path = Field(PROJECT_ROOT / ".recsys", description="Folder for all generated files.")
    scale: Literal["tiny", "demo", "seed"] = Field(
        "demo", description="Size of the simulated shop."
    )
    seed: int = Field(7, description="Seed of the simulator and of every training step.")
    catalogue: Path | None = Field(
        None, description="A products.yaml in the Retail Demo Store's format; None: simulated."
    )
    start_day: date | None = Field(
        None, description="First daily partition; None: the 14 demo days end yesterday."
    )

    # the calendar, and the windows around a day
    time_zone: str | None = Field(
        None,
        description="Time zone of the shop, an IANA name such as Europe/Berlin. It decides days, "
        "hours and weekdays. None: that of `recsys ingest --time-zone`, or UTC.",
    )
    train_days: int = Field(9, ge=1, le=366, description="Days that a full training learns.")
    validation_days: int = Field(
        3, ge=1, le=60, description="Days after the training days, on which models are judged."
    )
    replay_recent_days: int = Field(
        3, ge=0, le=60, description="Latest days that a fine-tune replays beside the new day."
    )
    replay_older_days: int = Field(
        2, ge=0, le=60, description="Random older training days that a fine-tune replays."
    )
    popularity_days: int = Field(
        7, ge=1, le=366, description="Days of clicks in the online popularity."
    )
    look_back_days: int = Field(
        30, ge=1, le=365, description="Days of clicks that a visitor's features cover."
    )

    # stores
    artifacts_uri: str | None = Field(
        None, description="Artifact store: a folder or s3://…; None: home/artifacts."
    )
    landing_uri: str | None = Field(
        None, description="Landing zone: a folder or s3://…; None: home/landing."
    )
    target: Literal["local", "aws"] = Field("local", description="Which feature_store.yaml to use.")
    valkey_host: str = "127.0.0.1"
    valkey_port: int = 6390
    valkey_tls: bool = False
    valkey_password: SecretStr | None = None
    store_timeout_ms: int = Field(
        20, description="Timeout of one online store call while serving, in milliseconds."
    )

    # the feature store on AWS (target aws)
    aws_region: str | None = Field(
        None, description="AWS region; None: the one that the environment or the cluster sets."
    )
    feast_registry: str | None = Field(None, description="Feast's registry file on AWS, s3://….")
    feast_offline_uri: str | None = Field(
        None, description="Feast's offline tables, s3://…; None: home/feast/offline."
    )
    athena_data_source: str = "AwsDataCatalog"
    athena_database: str = "recsys"
    athena_workgroup: str = "primary"
    athena_staging_uri: str | None = Field(None, description="Folder for Athena's results, s3://….")

    # addresses of the local parts
    triton_host: str = "127.0.0.1"
    triton_http_port: int = 8010
    triton_grpc_port: int = 8011
    triton_metrics_port: int = 8012
    triton_replicas: str = Field(
        "",
        description="gRPC addresses of all Triton replicas, host:port,…; dns:host:port stands for "
        "all addresses of that name; empty: the local server.",
    )
    model_repository_uri: Path | None = Field(
        None, description="Model repository that Triton serves; None: home/model_repository."
    )
    triton_timeout_ms: int = Field(
        1000, description="Timeout of one ranking call by the gateway, in milliseconds."
    )
    triton_models: Literal["both", "fused", "ensemble"] = Field(
        "both",
        description="Models that Triton serves: the fused model, the 15 stage models with their "
        "ensemble, or both.",
    )
    gateway_in_flight: int = Field(
        8, ge=1, description="Maximum number of concurrent ranking calls by the gateway."
    )
    shed_after_ms: int = Field(
        100,
        ge=1,
        description="Expected wait for a ranking call above which the gateway answers 429, in "
        "milliseconds.",
    )
    rate_limit: float = Field(
        500,
        ge=0,
        allow_inf_nan=False,
        description="Requests per second per client address, with bursts of twice that; 0: no "
        "limit.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1",
        description="Addresses and subnets of load balancers and proxies before the gateway, "
        "separated by commas. Their X-Forwarded-For names the client, by which the rate limit "
        "counts; that of others is ignored.",
    )
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8080
    dagster_host: str = "127.0.0.1"
    dagster_port: int = 3010
    code_server_port: int = 4010
    port_offset: int = Field(
        0,
        ge=0,
        description="Added to each local port that is not set explicitly, so that a second home "
        "can run beside the first.",
    )
    token: SecretStr | None = Field(
        None, description="Bearer token for write requests; optional on loopback only."
    )

    # interpreters of the other environments
    training_python: Path = PROJECT_ROOT / ".venvs" / "training" / "bin" / "python"
    serving_python: Path = PROJECT_ROOT / ".venvs" / "serving" / "bin" / "python"
    peers_python: Path = PROJECT_ROOT / ".venvs" / "peers" / "bin" / "python"

    # models
    automation: bool = Field(
        False, description="Start the sensors: they ingest, fine-tune and promote by themselves."
    )
    retrieval_topk: int = Field(300, ge=1, description="Number of candidates from retrieval.")
    ranking_topk: int = Field(100, ge=1, description="Maximum number of items in an answer.")
    diversity_mode: Literal["off", "sampling", "mmr"] = Field(
        "off",
        description="How an answer is diversified: off, weighted sampling, or maximal marginal "
        "relevance (mmr). true: sampling.",
    )
    mmr_lambda: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Weight of relevance against novelty in mmr; 1: relevance only, 0: novelty "
        "only.",
    )
    category_cap: int = Field(
        0, ge=0, description="Maximum number of items per category_l1 in an answer; 0: no limit."
    )
    retrieval_weight: float = Field(
        6.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of retrieval's similarity, added to the ranker's logit to order an "
        "answer; 0: the ranker only.",
    )
    sources: str = Field(
        "auto",
        description="Sources of candidates beside retrieval, separated by commas, such as "
        "follow_ups,ials. auto: all that add half a percent of nDCG@10 on held-out clicks; none: "
        "retrieval alone.",
    )
    seen_events: str = Field(
        "auto",
        description="Event types after which an item counts as seen, separated by commas, such as "
        "View,Purchase. any: every event but Impression; none: nothing counts; auto: any, Purchase "
        "or none, whichever held-out clicks say. A dismissed item is hidden whatever this is.",
    )
    seen_days: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="Number of local days for which an item counts as seen, the current one "
        f"included; 0: never. auto: {DEFAULT_SEEN_DAYS}.",
    )
    new_item_places: int | Literal["auto", "off"] = Field(
        "auto",
        description="One place of a list in so many, from 10 to 50, is reserved for new items. "
        "auto: by their share of the held-out clicks; off: none.",
    )
    clip_checkpoint: str | None = Field(
        None,
        description="open_clip weights: a path, s3://… or a hub tag; None: a small CLIP is trained "
        "on the catalogue.",
    )
    text_encoder: str | None = Field(
        None,
        description="Sentence-Transformers model that encodes the texts of items: its folder, or "
        "its name on the hub; None: all-MiniLM-L6-v2, which knows English.",
    )

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            local_time.time_zone(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _known_networks(cls, value: str) -> str:
        found = []
        for one in (part.strip() for part in value.split(",")):
            try:
                network = ip_network(one, strict=False)  # 10.0.16.5/20 means its subnet
            except ValueError as error:
                raise ValueError(
                    f"must be addresses and subnets such as 10.0.0.0/20,10.1.2.3: {error}"
                ) from None
            found.append(str(network) if "/" in one else one)
        return ",".join(found)

    @field_validator("sources")
    @classmethod
    def _known_sources(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        if names not in (["auto"], ["none"]) and not set(names) <= set(SOURCE_NAMES):
            raise ValueError(
                f"must be auto, none, or names of {', '.join(SOURCE_NAMES)}, got {value!r}"
            )
        return ",".join(names)

    @field_validator("seen_events")
    @classmethod
    def _known_events(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        if names not in (["auto"], ["any"], ["none"]) and not set(names) <= set(INTEREST_EVENTS):
            raise ValueError(
                f"must be auto, any, none, or names of {', '.join(INTEREST_EVENTS)}, got {value!r}"
            )
        return ",".join(names)

    @field_validator("new_item_places", mode="before")
    @classmethod
    def _known_places(cls, value: object) -> object:
        text = str(value).strip().lower()
        if text in ("auto", "off"):
            return text
        if not text.isdecimal() or not MOST_OFTEN <= int(text) <= LEAST_OFTEN:
            allowed = f"a whole number from {MOST_OFTEN} to {LEAST_OFTEN} (one place in so many)"
            raise ValueError(f"must be auto, off, or {allowed}; got {value!r}")
        return int(text)

    @field_validator("diversity_mode", mode="before")
    @classmethod
    def _as_reference(cls, value: object) -> object:
        """Accept the reference's booleans: true is weighted sampling, false is off."""
        text = str(value).lower()
        return "sampling" if text in ("true", "1") else "off" if text in ("false", "0") else value

    @model_validator(mode="after")
    def _shift_ports(self) -> Settings:
        for name in LOCAL_PORTS:
            if name not in self.model_fields_set:
                setattr(self, name, getattr(self, name) + self.port_offset)
        return self

    @field_validator(
        "home", "catalogue", "training_python", "serving_python", "peers_python", mode="after"
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # resolve() would follow an environment's python link out of its environment
        return value if value is None or value.is_absolute() else Path.cwd() / value

    @property
    def artifacts(self) -> str:
        """Return the address of the artifact store."""
        return self.artifacts_uri or str(self.home / "artifacts")

    @property
    def landing(self) -> str:
        """Return the address of the landing zone."""
        return self.landing_uri or str(self.home / "landing")

    @property
    def model_repository(self) -> Path:
        """Return the path of the model repository that Triton serves."""
        return self.model_repository_uri or self.home / "model_repository"

    @property
    def triton_grpc(self) -> list[str]:
        """Return host:port of every Triton replica; DNS names are resolved at each call."""
        given = [a.strip() for a in self.triton_replicas.split(",") if a.strip()]
        return [a for entry in given for a in resolve(entry)] or [
            f"{self.triton_host}:{self.triton_grpc_port}"
        ]

    @property
    def recommend_model(self) -> str:
        """Return the name of the Triton model that the gateway calls."""
        return "ensemble_model" if self.triton_models == "ensemble" else "recommender"

    @property
    def gateway_url(self) -> str:
        """Return the base URL of the gateway."""
        return f"http://{self.gateway_host}:{self.gateway_port}"

    @property
    def allowed_sources(self) -> tuple[str, ...]:
        """Return the names of ``sources``, in the order of SOURCE_NAMES."""
        if self.sources == "auto":
            return SOURCE_NAMES
        return tuple(name for name in SOURCE_NAMES if name in self.sources.split(","))

    @property
    def seen_event_types(self) -> tuple[EventType, ...] | None:
        """Return the event types of ``seen_events``, in their order; None: auto."""
        if self.seen_events == "auto":
            return None
        named = self.seen_events.split(",")
        return tuple(event for event in INTEREST_EVENTS if event in named or named == ["any"])

    @property
    def kept_seen_days(self) -> int:
        """Return for how many days the stores keep what a visitor did.

        At least DEFAULT_SEEN_DAYS: the release in force may have another rule than the settings.
        """
        asked = DEFAULT_SEEN_DAYS if self.seen_days == "auto" else self.seen_days
        return max(DEFAULT_SEEN_DAYS, asked)

    def valkey_url(self, database: int) -> str:
        """Return the URL of a Valkey database, with the password if there is one."""
        auth = f":{self.valkey_password.get_secret_value()}@" if self.valkey_password else ""
        return f"{'rediss' if self.valkey_tls else 'redis'}://{auth}{self.valkey_host}:{self.valkey_port}/{database}"

    def environment(self) -> dict[str, str]:
        """Return the settings as environment variables for child processes."""
        values: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            values[f"RECSYS_{name.upper()}"] = str(value)
        return values


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process, read once from the environment."""
    return Settings()


#: Valkey's databases.
FEAST_DATABASE, VISITOR_DATABASE, POPULARITY_DATABASE = 0, 1, 3
