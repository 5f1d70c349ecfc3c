"""Define the gateway's Prometheus metrics."""

from __future__ import annotations

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
#: Phases of an answer.
WAITING, TRITON, ASSEMBLING = "waiting", "triton", "assembling"
#: Causes of an answer with status 429.
RATE_LIMIT, OVERLOAD = "rate_limit", "overload"
#: Causes of an answer that is not logged: too many wait, the stream is full, the gateway ends.
QUEUE_FULL, STREAM_FULL, ENDED = "queue_full", "stream_full", "ended"


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
            "Seconds of an answer per phase: waiting for a place, Triton, assembling the answer.",
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
        self.served_logged = Counter(
            "gateway_served_logged", "Answers that the log of answers took.", registry=registry
        )
        dropped = Counter(
            "gateway_served_dropped",
            "Answers that are not logged although they should be, by cause.",
            ["cause"],
            registry=registry,
        )
        # looked up once, because every answer uses them
        self.phases = {phase: phases.labels(phase) for phase in (WAITING, TRITON, ASSEMBLING)}
        self.query_release, self.ranker_release = release.labels("query"), release.labels("ranker")
        self.served_dropped = {
            cause: dropped.labels(cause) for cause in (QUEUE_FULL, STREAM_FULL, ENDED)
        }
        for cause in (RATE_LIMIT, OVERLOAD):
            self.shed.labels(cause)
