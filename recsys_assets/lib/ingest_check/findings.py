"""Read files as an ingest does, change nothing, and keep what the page shows."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TypeVar

import polars as pl

from recsys_assets.columns import CLICK, EVENT_TYPE, ITEM_ID
from recsys_assets.lib.embeddings.language import coverage_of
from recsys_assets.lib.embeddings.text_encoder import TextEncoderError
from recsys_assets.lib.embeddings.token_coverage import TokenCoverage
from recsys_assets.lib.ingest_check.previews import (
    FilePreview,
    first_values,
    previews,
    unused_columns,
)
from recsys_assets.lib.ingest_check.readings import ColumnReading, log_examples, readings_of
from recsys_assets.lib.ingest_check.rejected import RejectedReason, rejected_reasons
from recsys_assets.lib.ingest_check.windows import TrainingWindow, clicks_by_day, training_windows
from recsys_assets.lib.landing.quarantine import REASON
from recsys_assets.lib.landing.zone import QUARANTINE_FOLDER, IngestError
from recsys_assets.lib.own_data.batch import TextForm
from recsys_assets.lib.own_data.bring import Progress, Request, Run
from recsys_assets.lib.own_data.log_summary import LogSummary
from recsys_assets.lib.own_data.mapping import NOT_IN_CATALOGUE
from recsys_assets.lib.own_data.observer import Observer
from recsys_assets.lib.own_data.pictures import Pictures
from recsys_assets.lib.own_data.publish import refuse_mixture
from recsys_assets.lib.own_data.report import IngestReport, SourceEntry, read_report, remedies
from recsys_assets.lib.own_data.tables import ReadTable
from recsys_assets.partitions import days_between
from recsys_assets.settings import Settings

T = TypeVar("T")
#: Pictures that the catalogue names and the folder lacks, which the page shows.
MISSING_EXAMPLES = 10
_MOST_WORDS = 500  # distinct words of events that are counted


@dataclass(frozen=True)
class RefusedPart:
    """Says why a part of the ingest is refused: file, field and remedy.

    ``part`` is items, users, interactions, images, calendar or options.
    """

    part: str
    message: str


@dataclass
class SourceFindings:
    """Holds what was found in a catalogue, users or a log.

    Attributes:
        table: items, users or interactions.
        files: the first files.
        file_count: number of files.
        entry: of the report; None: the source is refused.
        columns: those that are used, then the others.
        rejected: reasons, most rows first.
        read: rows that were read.
    """

    table: str
    files: list[FilePreview] = field(default_factory=list)
    file_count: int = 0
    entry: SourceEntry | None = None
    columns: list[ColumnReading] = field(default_factory=list)
    rejected: list[RejectedReason] = field(default_factory=list)
    read: int = 0


@dataclass
class Findings:
    """Holds what a check found.

    Attributes:
        zone: time zone of the shop.
        refusals: what the ingest would refuse.
        fresh_home: why the files must go into a fresh home; empty: they need not.
        replaces: whether the ingest would remove a shop from the landing zone.
        log_is_known: whether the landing zone has the log already.
        sources: table → what was found.
        pictures: of the report; None: no folder, or it is refused.
        missing: (item id, picture) of the pictures that are named and not there, some of them.
        missing_count: number of them.
        report: of the landing zone after the ingest; None: nothing could be read.
        words: (the log's word, our event type) → rows, before repeated rows are left out.
        summary: of the log.
        clicks: of products that the catalogue has, and of others.
        windows: of the settings, and the longest one.
        language: how well the text encoder knows the catalogue; None: not measured.
    """

    zone: str
    refusals: list[RefusedPart] = field(default_factory=list)
    fresh_home: str = ""
    replaces: bool = False
    log_is_known: bool = False
    sources: dict[str, SourceFindings] = field(default_factory=dict)
    pictures: SourceEntry | None = None
    missing: list[tuple[str, str]] = field(default_factory=list)
    missing_count: int = 0
    report: IngestReport | None = None
    words: Counter[tuple[str, str]] = field(default_factory=Counter)
    summary: LogSummary | None = None
    clicks: tuple[int, int] = (0, 0)
    windows: tuple[TrainingWindow, TrainingWindow] | None = None
    language: TokenCoverage | None = None

    @property
    def refused(self) -> bool:
        """Return whether the ingest would refuse these files or options."""
        return bool(self.refusals)

    @property
    def remedies(self) -> list[str]:
        """Return, as sentences, how to get more rows of the log accepted."""
        return [] if self.summary is None else remedies(self.summary, "and check again")


class _Watch(Observer):
    """Keeps examples and counts while the ingest's own code reads."""

    dry = True

    def __init__(self, findings: Findings, text_encoder: str | None) -> None:
        self._findings, self._text_encoder = findings, text_encoder

    def _source(self, table: str) -> SourceFindings:
        return self._findings.sources.setdefault(table, SourceFindings(table))

    def attempt(self, part: str, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except IngestError as error:
            self._findings.refusals.append(RefusedPart(part, str(error)))
            return None

    def recorded(self, entry: SourceEntry) -> None:
        if entry["table"] == "images":
            self._findings.pictures = entry
        else:
            self._source(entry["table"]).entry = entry

    def table(self, name: str, read: ReadTable) -> None:
        found = self._source(name)
        found.columns = readings_of(read.mapping, read.given, read.frame)
        found.read = read.read
        if name == "items":
            self._findings.language = _language(read.frame, self._text_encoder)

    def log(self, summary: LogSummary) -> None:
        self._findings.summary = summary

    def rows(self, rows: pl.DataFrame, columns: Mapping[str, str], prefix: str) -> None:
        findings, found = self._findings, self._source("interactions")
        known = {(one.yours, one.ours): one for one in found.columns}
        for ours, yours in columns.items():
            if (yours, ours) not in known:
                known[yours, ours] = ColumnReading(yours, ours)
                found.columns.append(known[yours, ours])
            one = known[yours, ours]
            one.examples = log_examples(one, rows, prefix, findings.zone)
        clicked = rows.filter(pl.col(CLICK) == 1)[REASON]
        known_items, others = findings.clicks
        findings.clicks = (
            known_items + clicked.null_count(),
            others + int((clicked == NOT_IN_CATALOGUE).sum()),
        )
        if EVENT_TYPE in columns and len(findings.words) < _MOST_WORDS:
            sound = rows.filter(pl.col(REASON).is_null())
            counts = sound.group_by(prefix + columns[EVENT_TYPE], EVENT_TYPE).len()
            for word, kind, count in counts.iter_rows():
                findings.words[str(word), kind] += count

    def pictures(self, named: pl.DataFrame, found: Pictures) -> None:
        broken = {Path(name).stem.lower() for name in found.unreadable}
        stem = pl.col("image").str.replace(r"^.*[/\\]", "").str.replace(r"\.\w+$", "")
        lost = named.filter(
            pl.col("image").str.strip_chars() != "",
            found.items["image"] == "",
            ~stem.str.to_lowercase().is_in(broken),
        )
        self._findings.missing_count = lost.height
        self._findings.missing = lost.select(ITEM_ID, "image").head(MISSING_EXAMPLES).rows()


def _language(items: pl.DataFrame, text_encoder: str | None) -> TokenCoverage | None:
    """Return how well the text encoder knows the catalogue; None if it is not on this machine."""
    try:
        return coverage_of(items, text_encoder, here=True)
    except (TextEncoderError, FileNotFoundError):
        return None


def check(
    landing: Path,
    request: Request,
    settings: Settings,
    *,
    now: int,
    progress: Progress = lambda message: None,
) -> Findings:
    """Read the requested sources as an ingest would; the landing zone stays as it is.

    Temporary files go to the system's folder for them (TMPDIR), and are removed.

    Args:
        landing: the landing zone's folder; it may be missing, and nothing in it is locked.
        request: the sources and how to read them.
        settings: the days of a training, and the calendar's first day.
        now: unix seconds; later events are rejected.
        progress: receives one line of text per step.
    """
    findings = Findings(request.rules.time_zone)
    try:
        refuse_mixture(landing, request.replace)
    except IngestError as error:
        findings.fresh_home = str(error)
        request = replace(request, replace=True)  # read as into a fresh home
    else:
        findings.replaces = request.replace and landing.exists() and any(landing.iterdir())
    before = None if request.replace else read_report(landing)
    known = {one["digest"] for one in before["sources"]} if before else set()
    with tempfile.TemporaryDirectory(prefix="recsys-check-") as folder:
        staging = Path(folder)
        run = Run(
            landing,
            staging,
            request,
            before,
            now,
            progress,
            _Watch(findings, settings.text_encoder),
        )
        findings.report = run.stage(None if findings.fresh_home else settings.start_day)
        _look(findings, request)
        log = findings.sources.get("interactions")
        findings.log_is_known = bool(log and log.entry and log.entry["digest"] in known)
        _take_rejected(findings, staging)
        zones = [staging] if request.replace else [staging, landing]
        _take_windows(findings, zones, settings)
    return findings


def preview(
    zone: str, problem: RefusedPart, sources: Mapping[str, tuple[list[str], TextForm]]
) -> Findings:
    """Return what files look like whose options are refused, so that none of them is read.

    Args:
        zone: time zone of the shop.
        problem: why the options are refused.
        sources: table → (files, form of text).
    """
    findings = Findings(zone, [problem])
    for table, (files, form) in sources.items():
        found = findings.sources[table] = SourceFindings(table)
        found.files, found.file_count = previews(files, form)
        found.columns = unused_columns(found.files, ())
    return findings


def _look(findings: Findings, request: Request) -> None:
    """Add what the files look like, and the columns that nothing uses."""
    sources: dict[str, tuple[list[str], TextForm]] = {}
    if request.catalogue is not None:
        sources["items"] = (
            [str(request.catalogue)],
            TextForm(request.item_columns, request.encoding, "--item-columns"),
        )
    if request.users is not None:
        sources["users"] = (
            [str(request.users)],
            TextForm(request.user_columns, request.encoding, "--user-columns"),
        )
    if request.logs:
        sources["interactions"] = (list(request.logs), request.rules.form)
    for table, (files, form) in sources.items():
        found = findings.sources.setdefault(table, SourceFindings(table))
        found.files, found.file_count = previews(files, form)
        found.columns += unused_columns(found.files, {one.yours for one in found.columns})
        for column in found.columns:
            if column.ours and not column.examples:  # no row with a value was accepted
                column.examples = first_values(found.files, column.yours)
        if table == "interactions" and findings.summary is not None:
            found.read = findings.summary.read


def _take_rejected(findings: Findings, staging: Path) -> None:
    for path in sorted((staging / QUARANTINE_FOLDER).glob("*/*.parquet")):
        findings.sources[path.parent.name].rejected = rejected_reasons(path)
    if (unfinished := staging / "quarantine.parquet").exists():  # of a log that is refused
        findings.sources["interactions"].rejected = rejected_reasons(unfinished)


def _take_windows(findings: Findings, zones: list[Path], settings: Settings) -> None:
    calendar = findings.report["calendar"] if findings.report else None
    if calendar is None or calendar["as_of"] is None:
        return
    first, last = calendar["start_day"], calendar["as_of"]
    days = days_between(date.fromisoformat(first), date.fromisoformat(last))
    clicks = clicks_by_day(zones, days)
    findings.windows = training_windows(first, last, clicks, settings)
