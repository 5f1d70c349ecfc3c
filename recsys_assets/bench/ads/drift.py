"""Measure false alarms and delays of the stream monitors on streams with a known change.

Each seed is a model of AUC about .75 at a quarter of positives. It is watched over predictions
without a change, and then over predictions whose truth has changed abruptly, so that the AUC of its
scores is about .55 (``click_stream``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recsys_assets.bench.ads.click_stream import ClickStream, LabelledScores
from recsys_assets.lib.evaluation.ranker_metrics import auc
from recsys_assets.lib.monitor.auc_threshold import suggested_threshold
from recsys_assets.lib.monitor.below import AucBelow
from recsys_assets.lib.monitor.loss_detector import LossDetector
from recsys_assets.lib.monitor.stream import StreamMonitor

Say = Callable[[str], None]

SEEDS, STEADY, CHANGED = 100, 100_000, 5_000
#: Labelled predictions after the change, within which an alarm is in time.
IN_TIME = 500
#: Held-out predictions, on which the champion's AUC and rate are measured.
HELD_OUT = 50_000
#: Bars of the rolling AUC: largest share of streams with a false alarm, smallest share in time.
FALSE_ALARMS, FOUND_IN_TIME = 0.01, 0.95


@dataclass(frozen=True)
class StreamOutcome:
    """Holds what one monitor found in one stream.

    Attributes:
        false_alarms: before the change.
        delay: predictions from the change to the first alarm, from 1; None: none came.
    """

    false_alarms: int
    delay: int | None


@dataclass(frozen=True)
class MonitorFigures:
    """Holds the figures of one monitor over all streams.

    Attributes:
        monitor: its name.
        streams: their number.
        false_alarms: share of streams with an alarm before the change.
        found_in_time: share with an alarm within IN_TIME predictions after it.
        delay_p50: median of the delay in predictions; infinite: no alarm in half of the streams.
        delay_p95: 95 % quantile; infinite: no alarm in more than 5 % of the streams.
    """

    monitor: str
    streams: int
    false_alarms: float
    found_in_time: float
    delay_p50: float
    delay_p95: float

    @classmethod
    def of(cls, monitor: str, outcomes: Sequence[StreamOutcome]) -> MonitorFigures:
        """Return the figures of the outcomes of one monitor, at least one."""
        delays = np.array([np.inf if one.delay is None else one.delay for one in outcomes])
        # "higher" is a delay that was seen; between a finite and an infinite one lies nothing
        middle, late = np.quantile(delays, [0.5, 0.95], method="higher").tolist()
        return cls(
            monitor,
            len(outcomes),
            sum(one.false_alarms > 0 for one in outcomes) / len(outcomes),
            float((delays <= IN_TIME).mean()),
            middle,
            late,
        )


@dataclass(frozen=True)
class AdsDriftFigures:
    """Holds the figures of the bench.

    Attributes:
        rolling_auc: of ``AucBelow``, with the threshold that each champion's AUC suggests.
        log_loss: of ``LossDetector``.
        auc_before: mean AUC of the scores on held-out predictions without the change.
        auc_after: on predictions after it.
        threshold: mean of the suggested thresholds.
    """

    rolling_auc: MonitorFigures
    log_loss: MonitorFigures
    auc_before: float
    auc_after: float
    threshold: float

    @property
    def met(self) -> bool:
        """Return whether the rolling AUC meets both bars."""
        figures = self.rolling_auc
        return figures.false_alarms <= FALSE_ALARMS and figures.found_in_time >= FOUND_IN_TIME


def measure_drift(
    say: Say, seeds: Iterable[int] = range(SEEDS), steady: int = STEADY, changed: int = CHANGED
) -> AdsDriftFigures:
    """Watch one stream per seed by both monitors.

    Args:
        say: receives a line per ten streams.
        seeds: of the streams, at least one.
        steady: predictions without a change, per stream.
        changed: predictions after it.
    """
    measured: list[tuple[float, float, float]] = []
    outcomes: dict[str, list[StreamOutcome]] = {AucBelow.NAME: [], LossDetector.NAME: []}
    for number, seed in enumerate(seeds, 1):
        stream = ClickStream(seed)
        held_out = stream.draw(HELD_OUT, changed=False)
        before = auc(held_out.labels, held_out.scores)
        threshold = suggested_threshold(before, float(held_out.labels.mean()))
        rows = stream.draw(steady, changed=False), stream.draw(changed, changed=True)
        after = auc(rows[1].labels, rows[1].scores)
        measured.append((before, after, threshold))
        for name, monitor in _monitors(threshold):
            outcomes[name].append(watch(monitor, *rows))
        if number % 10 == 0:
            say(f"{number} streams: {_told(outcomes)}")
    before, after, threshold = np.mean(measured, axis=0).tolist()
    figures = {name: MonitorFigures.of(name, found) for name, found in outcomes.items()}
    return AdsDriftFigures(
        figures[AucBelow.NAME], figures[LossDetector.NAME], before, after, threshold
    )


def watch(monitor: StreamMonitor, steady: LabelledScores, changed: LabelledScores) -> StreamOutcome:
    """Return what a monitor finds in a stream; a false alarm resets it, as a retrain does.

    Args:
        monitor: that has seen nothing.
        steady: predictions before the change.
        changed: predictions after it.
    """
    false_alarms = 0
    for score, label in _rows(steady):
        if monitor.update(score, label) is not None:
            false_alarms += 1
            monitor.reset()
    for delay, (score, label) in enumerate(_rows(changed), 1):
        if monitor.update(score, label) is not None:
            return StreamOutcome(false_alarms, delay)
    return StreamOutcome(false_alarms, None)


def _monitors(threshold: float) -> Iterator[tuple[str, StreamMonitor]]:
    yield AucBelow.NAME, AucBelow(threshold)
    yield LossDetector.NAME, LossDetector()


def _rows(rows: LabelledScores) -> Iterator[tuple[float, int]]:
    return zip(rows.scores.tolist(), rows.labels.tolist(), strict=True)


def _told(outcomes: dict[str, list[StreamOutcome]]) -> str:
    return "; ".join(
        f"{name}: {sum(one.false_alarms > 0 for one in found)} with a false alarm, "
        f"{sum(one.delay is not None and one.delay <= IN_TIME for one in found)} found in time"
        for name, found in outcomes.items()
    )
