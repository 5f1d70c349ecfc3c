"""Declare the inputs of an asset once, for its dependencies and its reads.

Each value of the TypedDict is annotated with its source::

    class VectorsInputs(TypedDict):
        two_tower: Annotated[Artifact, Upstream("retrieval/two_tower", SAME)]
        days: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.TRAINING)]

    @dg.asset(deps=dependencies(VectorsInputs), …)
    def item_vectors(context, platform):
        inputs = open_inputs(VectorsInputs, platform, context.partition_key)

Two kinds of reads are not declared as dependencies. An asset may read its own earlier versions and
partitions. ``fine_tune``, the gates and ``monitor`` read the champion or releases, which would
close a circle: release → champion → fine-tune → release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import dagster as dg

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.features.freshness import DAILY, require_fresh
from recsys_assets.orchestration.resources import Platform
from recsys_assets.partitions import Window

SAME = Window(0, 0)
T = TypeVar("T")
#: Days that an asset chooses for a role: a sequence, or a function of the other opened roles.
Chosen = Sequence[str] | Callable[[Mapping[str, Any]], Sequence[str]]


@dataclass(frozen=True)
class Upstream:
    """Declares the source of an input.

    Attributes:
        kind: kind of the artifact, and key of the asset that makes it.
        window: partitions of the upstream, relative to the asset's own; None: it has none.
        every: open all partitions that exist.
        chosen: the asset chooses days from the window.
        recorded: role in the upstream's manifest; the artifact of this role is the input, not the
            upstream itself.
    """

    kind: str
    window: Window | None = None
    every: bool = False
    chosen: bool = False
    recorded: str | None = None


@dataclass(frozen=True)
class Role:
    """One input of a declaration.

    ``many``: a sequence of artifacts. ``optional``: opened only if it exists.
    """

    upstream: Upstream
    many: bool
    optional: bool


def roles(declared: type) -> dict[str, Role]:
    """Return the inputs of a declaration by name.

    Raises:
        TypeError: an input has no ``Upstream``.
    """
    found = {}
    for name, hint in get_type_hints(declared, include_extras=True).items():
        if get_origin(hint) is not Annotated or not isinstance(get_args(hint)[1], Upstream):
            raise TypeError(
                f"{declared.__name__}.{name} names no upstream; annotate it as "
                "Annotated[Artifact, Upstream(…)]"
            )
        type_, upstream = get_args(hint)[:2]
        found[name] = Role(
            upstream, type_ is not Artifact, name in getattr(declared, "__optional_keys__", ())
        )
    return found


def kinds(declared: type) -> dict[str, str]:
    """Return role → kind of the inputs of a declaration."""
    return {name: role.upstream.kind for name, role in roles(declared).items()}


def dependencies(declared: type, *after: str) -> list[dg.AssetDep]:
    """Return the Dagster dependencies of a declaration, one per upstream asset.

    Each covers all days that any input reads from that asset.

    Args:
        declared: the declaration.
        after: assets that must run first, although none of their artifacts is opened.
    """
    windows: dict[str, Window | None] = {}
    every = set()
    for role in roles(declared).values():
        kind, window = role.upstream.kind, role.upstream.window
        known = windows.get(kind)
        windows[kind] = known | window if known and window else known or window
        if role.upstream.every:
            every.add(kind)
    mapped = {
        kind: dg.AllPartitionMapping() if kind in every else window.mapping() if window else None
        for kind, window in windows.items()
    }
    return [
        *(
            dg.AssetDep(kind.split("/"), partition_mapping=mapping)
            for kind, mapping in mapped.items()
        ),
        *(dg.AssetDep(kind.split("/")) for kind in after),
    ]


def open_inputs(
    declared: type[T], platform: Platform, partition: str | None = None, **chosen: Chosen
) -> T:
    """Open the declared inputs, each artifact once.

    Args:
        declared: the declaration.
        platform: settings and artifact store.
        partition: the asset's own partition.
        chosen: role → days, for each role whose days the asset chooses.

    Raises:
        ArtifactMissing: names every absent partition of an upstream.
        Outdated: features of a day were made from an older version of a day.
        ValueError: ``chosen`` lacks a role whose days the asset chooses, or names another role.
    """
    store, settings, wanted = platform.store, platform.settings, roles(declared)
    expected = {name for name, role in wanted.items() if role.upstream.chosen}
    if expected != set(chosen):
        raise ValueError(
            f"{declared.__name__}: choose the days of {sorted(expected)}, not of {sorted(chosen)}"
        )

    def asked(role: Role) -> list[str | None]:
        if role.upstream.every:
            return [*store.partitions(role.upstream.kind)]
        return (
            [None]
            if role.upstream.window is None
            else [*role.upstream.window.days(settings, str(partition))]
        )

    asked_of = {name: asked(role) for name, role in wanted.items() if name not in expected}
    present = {
        name: days
        for name, days in asked_of.items()
        if not wanted[name].optional
        or all(store.exists(wanted[name].upstream.kind, day) for day in days)
    }
    opened = _opened(platform, wanted, present)
    later = {name: [*(days(opened) if callable(days) else days)] for name, days in chosen.items()}
    return cast(T, opened | _opened(platform, wanted, later))


def _opened(
    platform: Platform, wanted: Mapping[str, Role], asked: Mapping[str, Sequence[str | None]]
) -> dict[str, Any]:
    """Return role → artifact, or artifacts, of its partitions."""
    needed: dict[str, dict[str | None, None]] = {}
    for name, days in asked.items():
        needed.setdefault(wanted[name].upstream.kind, {}).update(dict.fromkeys(days))
    found = {
        kind: dict(zip(days, platform.store.require(kind, [*days]), strict=True))
        for kind, days in needed.items()
    }
    require_fresh(
        platform.store, [one.manifest for kind in DAILY for one in found.get(kind, {}).values()]
    )
    opened = {}
    for name, days in asked.items():
        role = wanted[name]
        artifacts = [
            _recorded(platform, found[role.upstream.kind][day], role.upstream.recorded)
            for day in days
        ]
        opened[name] = artifacts if role.many else artifacts[0]
    return opened


def _recorded(platform: Platform, artifact: Artifact, role: str | None) -> Artifact:
    return artifact if role is None else platform.store.open(artifact.manifest["inputs"][role])
