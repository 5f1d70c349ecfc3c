"""Watch the labelled predictions of the ads ranker in service, and keep what an alarm asks for.

Both monitors of ``lib.monitor`` read the predictions of one release, in the order in which they
were settled. The whole state is JSON, which a sensor keeps as its cursor: the watch and its copy
raise the same alarms.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from recsys_assets.ads_columns import LABEL
from recsys_assets.lib.ads_ctr.feedback import SETTLED_AT
from recsys_assets.lib.landing.ads_predictions import PREDICTION_ID, RELEASE, SCORE
from recsys_assets.lib.monitor.alarms import CursorInvalid
from recsys_assets.lib.monitor.auc_threshold import suggested_threshold
from recsys_assets.lib.monitor.below import AucBelow
from recsys_assets.lib.monitor.loss_detector import LossDetector
from recsys_assets.lib.monitor.stream import StreamAlarm, fields, sequence, whole
from recsys_assets.settings import Settings

VERSION = 1
_FIELDS = frozenset(
    "version rules release to auc loss times labelled alarms pending asked left".split()
)


@dataclass(frozen=True)
class WatchRules:
    """Sets when a release raises an alarm.

    Attributes:
        threshold: rolling AUC below which there is an alarm; None: it is not watched, see reason.
        window: latest labelled predictions in the rolling AUC.
        least: labelled predictions from which on it is known.
        cool_down: labelled predictions after an alarm, or after a training that one asked for,
            without another.
        reason: why the rolling AUC is not watched.
    """

    threshold: float | None
    window: int
    least: int
    cool_down: int
    reason: str = ""

    @classmethod
    def of(cls, settings: Settings, auc: float | None, click_rate: float | None) -> WatchRules:
        """Return the rules of a release by its own AUC and click rate, unless a threshold is set.

        Args:
            settings: RECSYS_ADS_AUC_THRESHOLD, _WINDOW, _WINDOW_LEAST and _COOL_DOWN.
            auc: of the release, on rows that it has not learnt.
            click_rate: of these rows.
        """
        sizes = settings.ads_window, settings.ads_window_least, settings.ads_cool_down
        if settings.ads_auc_threshold is not None:
            return cls(settings.ads_auc_threshold, *sizes)
        if auc is None or click_rate is None:
            return cls(None, *sizes, "the release has no AUC; set RECSYS_ADS_AUC_THRESHOLD")
        try:
            return cls(suggested_threshold(auc, click_rate, *sizes[:2]), *sizes)
        except ValueError as error:
            return cls(None, *sizes, f"{error}; set RECSYS_ADS_WINDOW, or RECSYS_ADS_AUC_THRESHOLD")


@dataclass(frozen=True)
class PendingAlarm:
    """Holds the first alarm of a release that no training has answered.

    Attributes:
        number: of the alarm, from 1, over all releases.
        text: what was found.
        at: unix seconds at which the prediction that raised it was settled.
        since: unix seconds; the window of the alarm begins after it.
    """

    number: int
    text: str
    at: float
    since: float


class AdsWatch:
    """Watches one release after the other.

    Args:
        release: the champion's number.
        rules: of the champion.
    """

    def __init__(self, release: int, rules: WatchRules) -> None:
        self.release, self.rules = whole("release", release, 1), rules
        #: Settled last of all rows read: (settled_at, prediction_id).
        self.to: tuple[float, str] | None = None
        self.labelled = 0  # of the release, since it is watched
        self.alarms = 0  # of all releases
        self.pending: PendingAlarm | None = None
        #: Alarms that a training was asked for, the latest; None: none yet.
        self.asked: int | None = None
        self._left = 0  # of the cool-down after it
        self._begin()

    def _begin(self) -> None:
        rules = self.rules
        self._auc = (
            None
            if rules.threshold is None
            else AucBelow(rules.threshold, rules.cool_down, rules.window, rules.least)
        )
        self._loss = LossDetector(cool_down=rules.cool_down)
        self._times: deque[float] = deque(maxlen=rules.window + 1)
        self.labelled, self.pending = 0, None

    @property
    def rolling_auc(self) -> float | None:
        """Return the rolling AUC; None where it is not known or not watched."""
        return None if self._auc is None else self._auc.value

    @property
    def loss(self) -> float | None:
        """Return the mean log loss of ADWIN's window, scaled to 0 to 1; None before the first."""
        return self._loss.value

    @property
    def cooling(self) -> int:
        """Return the labelled predictions until an alarm may ask for a training again."""
        return self._left

    def follow(self, release: int, rules: WatchRules) -> str | None:
        """Watch the champion; another release or other rules begin with empty monitors.

        The cool-down after a training goes on: a new release needs predictions to be measured.

        Returns:
            why it began again; None: it goes on.
        """
        if release == self.release and rules == self.rules:
            return None
        reason = (
            f"release {release} follows release {self.release}"
            if release != self.release
            else f"the rules of release {release} have changed"
        )
        self.release, self.rules = whole("release", release, 1), rules
        self._begin()
        return reason

    def unseen(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that were not read yet, in the order of settling."""
        ordered = rows.sort(SETTLED_AT, PREDICTION_ID)
        if self.to is None:
            return ordered
        at, last = self.to
        later = (pl.col(SETTLED_AT) > at) | (
            (pl.col(SETTLED_AT) == at) & (pl.col(PREDICTION_ID) > last)
        )
        return ordered.filter(later)

    def update(self, rows: pl.DataFrame) -> list[StreamAlarm]:
        """Count the rows that were not read yet; return the alarms.

        Args:
            rows: of ``read_feedback``; those of other releases are passed over.

        Raises:
            ValueError: a score is no probability; the message names the prediction. The rows
                before it are counted.
        """
        found: list[StreamAlarm] = []
        columns = (SETTLED_AT, PREDICTION_ID, RELEASE, SCORE, LABEL)
        for at, name, release, score, label in self.unseen(rows).select(columns).iter_rows():
            if release == self.release:
                try:
                    found += self._count(at, score, label)
                except ValueError as error:
                    raise ValueError(f"prediction {name} of release {release}: {error}") from error
            self.to = at, name
        return found

    def _count(self, at: float, score: float, label: int) -> list[StreamAlarm]:
        # the loss detector accepts fewer scores, so that a refused row is in neither
        raised = [self._loss.update(score, label)]
        if self._auc is not None:
            raised.insert(0, self._auc.update(score, label))
        self.labelled += 1
        self._left = max(self._left - 1, 0)
        self._times.append(at)
        found = [one for one in raised if one is not None]
        for one in found:
            self.alarms += 1
            if self.pending is None:
                since = self._times[0] if len(self._times) > self.rules.window else 0.0
                self.pending = PendingAlarm(self.alarms, str(one), at, since)
        return found

    def answered(self) -> None:
        """Note that a training was asked for, and begin the cool-down.

        Raises:
            ValueError: no alarm is pending.
        """
        if self.pending is None:
            raise ValueError("no alarm is pending, so none can be answered")
        self.asked, self._left, self.pending = self.pending.number, self.rules.cool_down, None

    def text(self) -> str:
        """Return the state as a cursor."""
        state = {
            "version": VERSION,
            "rules": asdict(self.rules),
            "release": self.release,
            "to": self.to,
            "auc": None if self._auc is None else self._auc.state(),
            "loss": self._loss.state(),
            "times": [*self._times],
            "labelled": self.labelled,
            "alarms": self.alarms,
            "pending": None if self.pending is None else asdict(self.pending),
            "asked": self.asked,
            "left": self._left,
        }
        return json.dumps(state, sort_keys=True, separators=(",", ":"))

    @classmethod
    def read(cls, cursor: str | None) -> AdsWatch | None:
        """Return the watch of a cursor; None without a cursor.

        Raises:
            CursorInvalid: the text has another form.
        """
        if not cursor:
            return None
        try:
            return cls._of(json.loads(cursor))
        except (KeyError, TypeError, ValueError) as error:
            shown = cursor if len(cursor) <= 80 else f"{cursor[:79]}…"
            raise CursorInvalid(
                f"the cursor {shown!r} is not one of this sensor ({error}); reset it in the UI, "
                "under Automation: the watch then begins with an empty window"
            ) from error

    @classmethod
    def _of(cls, state: Mapping[str, Any]) -> AdsWatch:
        given = fields(state, _FIELDS, cls.__name__)
        if given["version"] != VERSION:
            raise ValueError(f"version must be {VERSION}, got {given['version']!r}")
        found = cls(given["release"], WatchRules(**given["rules"]))
        if given["to"] is not None:
            at, name = given["to"]
            found.to = float(at), str(name)
        if (found._auc is None) != (given["auc"] is None):
            raise ValueError("auc must be there exactly where the rules have a threshold")
        if given["auc"] is not None:
            found._auc = AucBelow.of(given["auc"])
        found._loss = LossDetector.of(given["loss"])
        found._times.extend(float(one) for one in sequence("times", given["times"]))
        found.labelled = whole("labelled", given["labelled"], 0)
        found.alarms = whole("alarms", given["alarms"], 0)
        found.pending = None if given["pending"] is None else PendingAlarm(**given["pending"])
        found.asked = None if given["asked"] is None else whole("asked", given["asked"], 1)
        found._left = whole("left", given["left"], 0)
        return found
