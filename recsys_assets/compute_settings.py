"""Define the settings of pods: images, accounts, the shared volume, resources per profile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SETTING = "RECSYS_K8S_PROFILES"
_FORM = (
    "write NAME=CPU/MEMORY or NAME=CPU/MEMORY/GPUS in Kubernetes' units, such as "
    "CPU_LARGE=1500m/6Gi,GPU_TRAIN=2/8Gi/0"
)


class Resources(NamedTuple):
    """Holds the resources of one pod.

    ``cpu`` is its request. ``memory`` is its request and its limit. ``gpus`` is a number of GPUs.
    """

    cpu: str
    memory: str
    gpus: int = 0


#: The largest process of the whole graph at seed scale had 4.7 GiB (docs/benchmarks.md): CPU_MEDIUM
#: holds any step of that size. CPU_LARGE is for steps that grow with catalogue times width, fit a
#: model or score all queries; it is what a node of 4 CPUs and 16 GiB has left.
DEFAULT = {
    "CPU_SMALL": Resources("500m", "2Gi"),
    "CPU_MEDIUM": Resources("1", "6Gi"),
    "CPU_LARGE": Resources("3", "12Gi"),
    "GPU_TRAIN": Resources("3", "12Gi", 1),
}
_AMOUNTS = re.compile(
    r"(?P<cpu>[1-9]\d*m?|0\.\d+|[1-9]\d*\.\d+)/(?P<memory>[1-9]\d*[MG]i)(?:/(?P<gpus>[01]))?"
)


def profiles_of(text: str) -> dict[str, Resources]:
    """Return profile → resources: the defaults, changed by a setting.

    Raises:
        ValueError: the text has another form; names the setting, the wrong part and the remedy.
    """
    found = dict(DEFAULT)
    for part in (one.strip() for one in text.split(",") if one.strip()):
        name, _, amounts = (one.strip() for one in part.partition("="))
        if name not in DEFAULT:
            raise ValueError(f"{SETTING}: {name!r} is no profile: use {', '.join(DEFAULT)}")
        given = _AMOUNTS.fullmatch(amounts)
        if given is None:
            raise ValueError(f"{SETTING}: {part!r} names no CPU, memory and at most 1 GPU: {_FORM}")
        gpus = DEFAULT[name].gpus if given["gpus"] is None else int(given["gpus"])
        if gpus > DEFAULT[name].gpus:
            raise ValueError(
                f"{SETTING}: {part!r} rents a GPU, and only GPU_TRAIN uses one: leave it out"
            )
        found[name] = Resources(given["cpu"], given["memory"], gpus)
    return found


def _checked(text: str) -> str:
    profiles_of(text)
    return text


class ComputeSettings(BaseSettings):
    """Holds where steps run, and the resources of their pods."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_", extra="ignore")

    executor: Literal["in_process", "multiprocess", "k8s"] = "in_process"
    training_image: str | None = Field(
        None, description="Image of the training pods (executor k8s)."
    )
    platform_image: str | None = Field(
        None, description="Image of the step pods; None: the code location's image."
    )
    k8s_namespace: str = "recsys"
    k8s_service_account: str = Field(
        "recsys-training", description="Service account of the training pods."
    )
    k8s_step_service_account: str = Field(
        "recsys-platform", description="Service account of the run and step pods."
    )
    k8s_shared_claim: str = Field(
        "recsys-shared",
        description="Volume claim that step pods and training pods share; it holds home.",
    )
    k8s_shared_dir: Path = Field(
        Path("/recsys"), description="Mount path of the shared volume in both kinds of pods."
    )
    k8s_profiles: Annotated[str, AfterValidator(_checked)] = Field(
        "",
        description="Resources of compute profiles that differ from the defaults, as "
        "NAME=CPU/MEMORY/GPUS, such as CPU_LARGE=1500m/6Gi,GPU_TRAIN=2/8Gi/0. Without a GPU, "
        "training pods run on the CPU nodes.",
    )

    @property
    def profiles(self) -> dict[str, Resources]:
        """Return profile → resources."""
        return profiles_of(self.k8s_profiles)
