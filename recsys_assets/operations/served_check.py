"""Ask a gateway the held-out queries of a release, and compare its lists with the evaluation's.

The gateway is a real one with stores of its own, in a home of its own, so that the visitors keep
their own ids (a model knows a visitor by the id) and no visitor of the running shop is touched.
Behind it is either Triton, or the stages in this process. Stock and hidden items of today do not
apply to past days: the own home has none.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.release.releases import Release, open_release, seen_rule
from recsys_assets.lib.served_check.agreement import (
    BLOOM_SHARE,
    Agreement,
    ServedList,
    changed_by_a_nudge,
    compare,
    passes,
    wrongly_seen,
)
from recsys_assets.lib.served_check.moments import Moments
from recsys_assets.lib.served_check.subject import CheckImpossible, Subject
from recsys_assets.operations import own_home
from recsys_assets.operations.past_popularity import PastPopularity
from recsys_assets.operations.past_state import PastState
from recsys_assets.partitions import time_zone
from recsys_assets.release_files import ITEM_IDS_FILE, SAMPLING, model_file
from recsys_assets.serving.gateway.models import MAX_TOP_K
from recsys_assets.serving.stages.ordering import OFF, Ordering
from recsys_assets.serving.stores import poller
from recsys_assets.settings import Settings

SAMPLE = 500
#: Limits that a busy machine keeps: the check measures no time.
_STORE_MS, _TRITON_MS, _SHED_MS, _ANSWER_SECONDS = 5_000, 60_000, 600_000, 120.0
#: Seconds before the next time: longer than a breaker stays open.
_PAUSE = 2.0
#: Seconds in which Triton reads what is popular now.
_POLLED = poller.SECONDS + 0.2
#: Times that a degraded answer is asked for again.
_ATTEMPTS = 3

Say = Callable[[str], None]


def check_served(
    settings: Settings, number: int, *, sample: int = SAMPLE, triton: bool = False, say: Say
) -> Agreement:
    """Ask a release and return how far its lists agree with the evaluation's.

    Args:
        settings: of the home; only read.
        number: of the release.
        sample: held-out queries at most.
        triton: serve by Triton, as in production; else by the stages in this process.
        say: receives one line per step.

    Raises:
        ArtifactMissing: there is no such release.
        CheckImpossible: see ``Subject.of``, or the gateway refuses a query.
        ServiceError: a part did not start.
    """
    store = ArtifactStore(settings.artifacts, cache=settings.home / "cache" / "artifacts")
    release = open_release(store, number)
    subject = Subject.of(store, settings, release, sample)
    ordering = Ordering.of(
        json.loads(release.artifact.path(model_file("softmax_sampling", SAMPLING)).read_text()),
        f"release {number}",
    )
    varied = diversity(ordering)
    if triton and varied:
        raise CheckImpossible(
            f"release {number} diversifies its lists ({varied}), which the evaluation does not "
            "judge: check it without --triton, which compares the lists before that"
        )
    moments = Moments.of(subject, settings.kept_seen_days)
    say(f"release {number}: {len(subject.queries)} of {subject.held_out} held-out queries")
    length = min(ordering.ranking_topk, MAX_TOP_K)
    with tempfile.TemporaryDirectory(prefix="recsys-served-") as folder:
        own = own_home.own_settings(
            settings,
            Path(folder) / "home",
            time_zone=time_zone(settings),
            store_timeout_ms=_STORE_MS,
            triton_timeout_ms=_TRITON_MS,
            shed_after_ms=_SHED_MS,
            gateway_in_flight=1,
            triton_models="fused",
            token=None,
        )
        served = _served(own, release, subject, moments, length, triton=triton, say=say)
    wrong = wrongly_seen(subject.queries, moments.acts, seen_rule(release.artifact))
    causes, first = compare(
        subject.scorer,
        subject.rounded,
        subject.nudged,
        subject.queries,
        served,
        length,
        wrong,
        subject.places,
    )
    nudged = 0
    if not passes(causes) and not causes["different"]:
        nudged = changed_by_a_nudge(subject.scorer, subject.nudged, subject.queries, length)
    return {
        "release": number,
        "rung": release.rung["name"],
        "queries": len(subject.queries),
        "held_out": subject.held_out,
        "list_length": length,
        "causes": causes,
        "changed_by_a_nudge": nudged,
        "seen_wrongly": int(wrong.sum()),
        "bloom_share_allowed": BLOOM_SHARE,
        "passed": passes(causes, nudged),
        "first": first,
        "diversity": varied,
    }


def left(release: Release, queries: Queries) -> list[str]:
    """Return the items of a release that the catalogue of the queries no longer has.

    The evaluation never shows them, so they are hidden in the own home.
    """
    known: list[str] = json.loads(release.artifact.path(ITEM_IDS_FILE).read_text())
    return sorted(set(known) - set(queries.item_ids.tolist()))


def diversity(ordering: Ordering) -> str:
    """Return what a release does to a list after its scores; "" nothing.

    >>> diversity(Ordering(100, "mmr", 20.0, 0.7, 3, 1.0))
    'mmr, at most 3 items per category'
    """
    found = [] if ordering.diversity == OFF else [ordering.diversity]
    if ordering.category_cap:
        found.append(f"at most {ordering.category_cap} items per category")
    return ", ".join(found)


def _served(
    own: Settings,
    release: Release,
    subject: Subject,
    moments: Moments,
    length: int,
    *,
    triton: bool,
    say: Say,
) -> list[ServedList]:
    """Start the own home, and ask all queries."""
    found: dict[int, ServedList] = {}
    first = moments.rounds[0][0]
    with own_home.running(own, ["valkey"]):
        state = PastState(own, moments, subject.queries.time_zone)
        popular = PastPopularity.of(own, subject)
        state.hide(left(release, subject.queries))
        if triton and popular.half_lives:
            minutes = len(subject.queries) * _POLLED / 60
            say(f"each query waits for what was popular then: {minutes:.0f} minutes; see --queries")
        state.set_items(first)  # before the stages read all items at their start
        began = time.monotonic()
        items = subject.queries.items
        with (_by_triton if triton else _in_process)(own, release, items) as (http, read):
            say(f"the gateway is up after {time.monotonic() - began:.1f} s")
            began, present = time.monotonic(), first
            for day, queries in moments.rounds:
                if day != present:
                    state.set_items(day)
                    read.items()
                    present = day
                found |= _ask_round(http, state, popular, read, moments, queries, length)
            say(f"{len(found)} lists in {time.monotonic() - began:.1f} s")
    return [found[n] for n in range(len(subject.queries))]


def _ask_round(
    http: Any,
    state: PastState,
    popular: PastPopularity,
    read: _Read,
    moments: Moments,
    queries: np.ndarray,
    length: int,
) -> dict[int, ServedList]:
    """Set the state of some visitors and ask for their lists; again where a part was too slow."""
    found: dict[int, ServedList] = {}
    left = queries
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        today = state.set_visitors(left)
        popular.forget()

        def before(at: int) -> None:
            if popular.half_lives:
                popular.set(at)
                read.popular_now()

        found |= dict(zip(left.tolist(), _ask(http, moments, left, length, before), strict=True))
        if not state.is_today(today):  # the days of the seen filter have moved
            continue
        left = np.array([n for n in left.tolist() if found[n].reasons], np.int64)
        if not len(left):
            break
    return found


def _ask(
    http: Any, moments: Moments, queries: np.ndarray, length: int, before: Callable[[int], None]
) -> Iterator[ServedList]:
    """Yield the gateway's list of each query; before: called with the moment of each."""
    rows = moments.visitors[queries].select(c.USER_ID, c.DEVICE_TYPE, c.TIMESTAMP).rows()
    requests: list[dict[str, Any]] = [
        {
            "user_id": user,
            "timestamp": at,
            "top_k": length,
            **({} if device in (None, c.MISSING) else {"device_type": device}),
        }
        for user, device, at in rows
    ]
    # one by one: in a batch, models round the numbers of each query otherwise
    for request in requests:
        before(request["timestamp"])
        try:
            answer = http.post("/recommend", json=request)
        except httpx.HTTPError as error:
            raise CheckImpossible(
                f"the gateway of the check does not answer ({error}); run the check again, and "
                "see that this machine has memory left"
            ) from error
        if answer.status_code != 200:
            raise CheckImpossible(
                f"the gateway refuses a query of the log ({answer.status_code}: "
                f"{answer.text[:500]}): a visitor with such an id or device cannot be served"
            )
        found = answer.json()
        yield ServedList([item["item_id"] for item in found["items"]], found["reasons"])


@dataclass(frozen=True)
class _Read:
    """Waits until what serves has read a changed state."""

    items: Callable[[], None]
    popular_now: Callable[[], None]


def _until_read(read: Callable[[], bool]) -> None:
    """Read until the store answers; after an outage, that takes as long as its breaker is open.

    Raises:
        CheckImpossible: it does not answer.
    """
    until = time.monotonic() + _ANSWER_SECONDS
    while not read():
        if time.monotonic() > until:
            raise CheckImpossible(
                f"the store did not answer within {_ANSWER_SECONDS:g} s: run the check when this "
                "machine is less busy"
            )
        time.sleep(0.2)


@contextlib.contextmanager
def _in_process(own: Settings, release: Release, items: int) -> Iterator[tuple[Any, _Read]]:
    """Serve by the gateway's app with the stages behind it."""
    from fastapi.testclient import TestClient  # runs an app without a port

    from recsys_assets.serving.gateway.app import create_app
    from recsys_assets.serving.gateway.in_process import InProcessRanking
    from recsys_assets.serving.promotion.publication import publish_committed
    from recsys_assets.serving.stages.candidate_sources import CandidateSources
    from recsys_assets.serving.stages.item_lookup import FeastItemLookup
    from recsys_assets.serving.stages.pipeline import Pipeline

    publish_committed(own, release)
    pipeline = Pipeline.load(release.artifact.local, own, release.versions)
    try:
        (lookup,) = (one for one in pipeline.stages if isinstance(one, FeastItemLookup))
        (sources,) = (one for one in pipeline.stages if isinstance(one, CandidateSources))
        _order_plainly(pipeline)
        known = lookup.table.current.version

        def settled() -> None:
            """Wait until the item table has been read again."""
            nonlocal known
            until = time.monotonic() + _ANSWER_SECONDS
            while lookup.table.current.version == known:
                if time.monotonic() > until:
                    raise CheckImpossible(
                        f"the item table was not read within {_ANSWER_SECONDS:g} s: run the check "
                        "when this machine is less busy"
                    )
                time.sleep(0.05)
            known = lookup.table.current.version

        with TestClient(create_app(own, InProcessRanking(pipeline))) as http:
            yield http, _Read(settled, lambda: _until_read(sources.read_popular_now))
    finally:
        pipeline.close()


def _order_plainly(pipeline: Any) -> None:
    """Let the list be ordered by score alone, as the evaluation judges it."""
    from recsys_assets.serving.stages.ordering import SoftmaxSampling

    for stage in pipeline.stages:
        if isinstance(stage, SoftmaxSampling):
            stage.order_plainly()


@contextlib.contextmanager
def _by_triton(own: Settings, release: Release, items: int) -> Iterator[tuple[Any, _Read]]:
    """Serve by a gateway and a Triton of the own home."""

    def settled() -> None:
        """Wait for two polls of the item table, and for the reads of all items."""
        time.sleep(2 * poller.SECONDS + 1 + items / 5_000)

    with own_home.running(own, ["triton"]):
        own_home.promote(own, release.artifact)
        with (
            own_home.running(own, ["gateway"]),
            httpx.Client(
                base_url=own.gateway_url, timeout=_ANSWER_SECONDS, trust_env=False
            ) as http,
        ):
            yield http, _Read(settled, lambda: time.sleep(_POLLED))


def write_agreement(path: Path, found: Agreement) -> None:
    """Write the result of a check."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
