"""Define the gateway's Prometheus metrics."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

#: Seconds; fine where answers lie, so that a p99 can be read off.
BUCKETS = (
    0.001,
    0.0015,
    0.002,
    0.003,
    0.004,
    0.005,
    0.006,
    0.008,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
    1,
    2.5,
)
#: Phases of an answer; ADS: Triton's of a call for ads.
WAITING, TRITON, ASSEMBLING, ADS = "waiting", "triton", "assembling", "ads"
#: Causes of an answer with status 429.
RATE_LIMIT, OVERLOAD = "rate_limit", "overload"
#: Causes of a record that is not logged: too many wait, the stream is full, the gateway ends.
QUEUE_FULL, STREAM_FULL, ENDED = "queue_full", "stream_full", "ended"


@dataclass(frozen=True)
class LogCounters:
    """Counters of a log: records that it took, and by cause those that it dropped."""

    logged: Counter
    dropped: dict[str, Counter]


def _log_counters(registry: CollectorRegistry, prefix: str, what: str) -> LogCounters:
    """Return the counters ``<prefix>_logged`` and ``<prefix>_dropped``."""
    dropped = Counter(
        f"{prefix}_dropped",
        f"{what} that are not logged although they should be, by cause.",
        ["cause"],
        registry=registry,
    )
    return LogCounters(
        Counter(f"{prefix}_logged", f"{what} that their log took.", registry=registry),
        {cause: dropped.labels(cause) for cause in (QUEUE_FULL, STREAM_FULL, ENDED)},
    )


class Metrics:
    """Counters, gauges and histograms of one gateway, in their own registry."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "gateway_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "gateway_request_seconds",
            "Seconds until the answer.",
            ["route"],
            registry=registry,
            buckets=BUCKETS,
        )
        phases = Histogram(
            "gateway_phase_seconds",
            "Seconds of an answer per phase: waiting for a place, Triton, assembling the answer; "
            "Triton for ads.",
            ["phase"],
            registry=registry,
            buckets=(0.0001, 0.0002, 0.0005, *BUCKETS),
        )
        self.degraded = Counter(
            "gateway_degraded",
            "Degraded answers, by reason; an answer may have several.",
            ["reason"],
            registry=registry,
        )
        self.shed = Counter(
            "gateway_shed", "Requests answered with 429, by cause.", ["cause"], registry=registry
        )
        self.in_flight = Gauge("gateway_in_flight", "Open ranking calls.", registry=registry)
        self.waiting = Gauge(
            "gateway_waiting", "Visitors that wait for a ranking call.", registry=registry
        )
        release = Gauge(
            "gateway_release", "The release that answered last.", ["part"], registry=registry
        )
        self.availability_age = Gauge(
            "gateway_availability_age_seconds",
            "Seconds since the unavailable items were last read; NaN: never.",
            registry=registry,
        )
        self.served = _log_counters(registry, "gateway_served", "Answers")
        self.ads_log = _log_counters(registry, "recsys_ads", "Predictions for ads")
        self.ads_predictions = Counter(
            "recsys_ads_predictions", "Predictions for ads that were answered.", registry=registry
        )
        self.ads_labels = Counter(
            "recsys_ads_labels", "Labels of ads that were accepted.", registry=registry
        )
        self.ads_release = Gauge(
            "recsys_ads_release", "The release that predicted for ads last.", registry=registry
        )
        # looked up once, because every answer uses them
        self.phases = {phase: phases.labels(phase) for phase in (WAITING, TRITON, ASSEMBLING, ADS)}
        self.query_release, self.ranker_release = release.labels("query"), release.labels("ranker")
        for cause in (RATE_LIMIT, OVERLOAD):
            self.shed.labels(cause)
