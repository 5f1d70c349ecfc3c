"""Ingest logs, catalogue, pictures and users into the landing zone, atomically.

All files are written to a hidden staging folder in the landing zone and moved at the end.
``ingested.json`` is written last. If the process dies before the moves, the landing zone is
unchanged. If it dies between two moves, each file is whole, and the same command writes the same
bytes again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import polars as pl

from recsys_assets.columns import AGE, GENDER, ITEM_ID, MISSING, PRICE, USER_ID
from recsys_assets.files import sha256_file, write_json
from recsys_assets.lib.landing import zone
from recsys_assets.lib.landing.quarantine import QuarantineWriter, quarantine_path
from recsys_assets.lib.landing.zone import (
    IMAGES_FILE,
    INTERACTIONS_FOLDER,
    ITEMS_FILE,
    TAGS_FILE,
    USERS_FILE,
    IngestError,
)
from recsys_assets.lib.own_data import pictures as ingest_images
from recsys_assets.lib.own_data import report as ingest_report
from recsys_assets.lib.own_data import tables
from recsys_assets.lib.own_data.batch import TextForm
from recsys_assets.lib.own_data.digests import digest_of, digest_of_ids, given_options
from recsys_assets.lib.own_data.log import ingested_file, stage_log
from recsys_assets.lib.own_data.log_summary import LogSummary
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.lib.own_data.observer import Observer
from recsys_assets.lib.own_data.publish import clear, publish, refuse_mixture, staging_folder
from recsys_assets.lib.own_data.report import IngestReport, SourceEntry, TableSize
from recsys_assets.lib.own_data.sources import find_files
from recsys_assets.local_time import UTC, day_of

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """Names the sources of one ingest; at least one of logs, catalogue and users.

    Raises:
        IngestError: no source is named, or an option lacks the source that it belongs to.
    """

    logs: Sequence[str] = ()
    rules: LogRules = field(default_factory=LogRules)
    catalogue: Path | None = None
    item_mapping: Mapping[str, str] = field(default_factory=dict)
    images: Path | None = None
    users: Path | None = None
    user_mapping: Mapping[str, str] = field(default_factory=dict)
    replace: bool = False
    item_columns: tuple[str, ...] = ()
    user_columns: tuple[str, ...] = ()
    encoding: str | None = None
    decimal: str | None = None

    def __post_init__(self) -> None:
        if not (self.logs or self.catalogue or self.users):
            raise IngestError("nothing to ingest: name a log, --catalogue or --users")
        for option, given, needs, there in (
            ("--images", self.images, "--catalogue", self.catalogue),
            ("--item-map", self.item_mapping, "--catalogue", self.catalogue),
            ("--user-map", self.user_mapping, "--users", self.users),
            ("--map", self.rules.mapping, "a log", self.logs),
            ("--columns", self.rules.columns, "a log", self.logs),
            ("--item-columns", self.item_columns, "--catalogue", self.catalogue),
            ("--user-columns", self.user_columns, "--users", self.users),
            ("--decimal", self.decimal, "--catalogue", self.catalogue),
        ):
            if given and not there:
                raise IngestError(f"{option} needs {needs}")


def ingest(
    landing: Path,
    request: Request,
    *,
    now: int,
    start_day: date | None,
    progress: Progress = lambda message: None,
) -> dict[str, Any]:
    """Ingest the requested sources into the landing zone.

    The same request again changes nothing.

    Args:
        landing: the landing zone's folder; created if missing.
        request: the sources and how to read them.
        now: unix seconds; later events are rejected.
        start_day: the calendar's first day, where a setting names it.
        progress: receives one line of text per step.

    Returns:
        The report, as it is in ``ingested.json``.

    Raises:
        IngestError: a source cannot be ingested; the landing zone is unchanged.
    """
    refuse_mixture(landing, request.replace)
    landing.mkdir(parents=True, exist_ok=True)
    with staging_folder(landing) as staging:
        before = None if request.replace else ingest_report.read_report(landing)
        run = Run(landing, staging, request, before, now, progress)
        return dict(run.run(start_day))


class Run:
    """Runs one ingest from the sources to the report, see ``ingest``.

    ``before`` is the report of the landing zone; None: nothing was ingested.
    """

    def __init__(
        self,
        landing: Path,
        staging: Path,
        request: Request,
        before: IngestReport | None,
        now: int,
        progress: Progress,
        observer: Observer | None = None,
    ) -> None:
        self.landing, self.staging, self.request = landing, staging, request
        self.now, self.progress, self.observer = now, progress, observer or Observer()
        self.sources: list[SourceEntry] = list(before["sources"]) if before else []
        self.old = None if request.replace else landing
        self.quarantines: list[Path] = []  # quarantine files that this ingest replaces

    def run(self, start_day: date | None) -> IngestReport:
        """Stage all tables, move them into the landing zone and return the report."""
        report = self.stage(start_day)
        if self.request.replace:
            clear(self.landing)
        publish(self.staging, self.landing, self.quarantines)
        write_json(self.landing / zone.REPORT_FILE, report)
        return report

    def stage(self, start_day: date | None) -> IngestReport:
        """Stage all tables and return the report; the landing zone stays as it is.

        Raises:
            IngestError: a part is refused, and the observer does not go on without it.
        """
        attempt = self.observer.attempt
        items = attempt("items", lambda: self._table("items"))
        users = attempt("users", lambda: self._table("users"))
        summary = attempt("interactions", lambda: self._log(items))
        if summary is not None:
            if not self._has("items"):
                items = _with_derived(items, tables.derived_items(summary.items), ITEM_ID)
            users = _with_derived(users, tables.derived_users(summary.users), USER_ID)
        if (named := items) is not None:
            pictured = attempt("images", lambda: self._pictures(named))
            items = named if pictured is None else pictured
        for frame, file in ((items, ITEMS_FILE), (users, USERS_FILE)):
            if frame is not None:
                (self.staging / file).parent.mkdir(exist_ok=True)
                frame.write_parquet(self.staging / file)
        report = self._report(items, users)
        calendar = report["calendar"]
        attempt("calendar", lambda: ingest_report.check_calendar(calendar, start_day))
        return report

    def _has(self, table: str) -> bool:
        return any(source["table"] == table for source in self.sources)

    def _record(self, entry: SourceEntry) -> None:
        """Add a source, or replace the entry of the same source."""
        at = next(
            (
                n
                for n, one in enumerate(self.sources)
                if (one["table"], one["digest"]) == (entry["table"], entry["digest"])
            ),
            len(self.sources),
        )
        self.sources[at : at + 1] = [entry]
        self.observer.recorded(entry)

    def _table(self, name: Literal["items", "users"]) -> pl.DataFrame | None:
        """Return the new catalogue or users, before the log's ids are added; None if none."""
        request = self.request
        source, mapping, file, key = (
            (request.catalogue, request.item_mapping, ITEMS_FILE, ITEM_ID)
            if name == "items"
            else (request.users, request.user_mapping, USERS_FILE, USER_ID)
        )
        has_landed = self.old is not None and (self.old / file).exists()
        landed = pl.read_parquet(self.landing / file) if has_landed else None
        if source is None:
            return landed
        table = self._read(name, source, mapping, landed)
        self.observer.table(name, table)
        files = [source] if str(source).lower().endswith(tables.YAML) else find_files([source])
        options: dict[str, object] = {"mapping": mapping}
        columns = request.item_columns if name == "items" else request.user_columns
        options |= given_options(
            columns=columns, encoding=request.encoding, decimal=request.decimal
        )
        digest = digest_of(files, options)
        quarantine = quarantine_path(self.staging, name, digest)
        with QuarantineWriter(quarantine, list(dict.fromkeys(table.columns))) as writer:
            writer.write(table.rejected)
        self.quarantines.append(quarantine.relative_to(self.staging))
        self._record(
            {
                "table": name,
                "digest": digest,
                "files": list(map(str, files)),
                "mapping": table.mapping,
                "rows_read": table.read,
                "accepted": table.frame.height,
                "rejected": dict(writer.counts.most_common()),
                "adjusted": table.adjusted,
                "notes": list(table.notes),
            }
        )
        self.progress(f"{name}: {table.frame.height:,} of {table.read:,} rows")
        return tables.upsert(table.frame, landed, key)

    def _read(
        self, name: str, source: Path, mapping: Mapping[str, str], landed: pl.DataFrame | None
    ) -> tables.ReadTable:
        """Read the catalogue, and stage its tags; or read the users."""
        request = self.request
        if name == "users":
            form = TextForm(tuple(request.user_columns), request.encoding, "--user-columns")
            return tables.read_users(source, mapping, form)
        form = TextForm(tuple(request.item_columns), request.encoding, "--item-columns")
        table = tables.read_catalogue(source, mapping, form, request.decimal, landed)
        kept = self.landing / TAGS_FILE
        old = pl.read_parquet(kept) if self.old is not None and kept.exists() else None
        (self.staging / TAGS_FILE).parent.mkdir(exist_ok=True)
        tables.upsert_tags(table, old).write_parquet(self.staging / TAGS_FILE)
        return table

    def _pictures(self, items: pl.DataFrame) -> pl.DataFrame:
        kept = None if self.old is None else self.old / IMAGES_FILE
        if self.request.images is None:
            return ingest_images.without_folder(items, kept)
        target = None if self.observer.dry else self.staging / IMAGES_FILE
        found = ingest_images.read_pictures(self.request.images, items, kept, target)
        self.observer.pictures(items, found)
        self._record(
            {
                "table": "images",
                "digest": sha256_file(target)[:16] if target else "",
                "files": [str(self.request.images)],
                "mapping": {},
                "rows_read": found.read + len(found.unreadable),
                "accepted": found.read,
                "rejected": {ingest_images.UNREADABLE: len(found.unreadable)}
                if found.unreadable
                else {},
                "unreadable": found.unreadable,
                "ambiguous": found.ambiguous,
                "items_without": found.without,
            }
        )
        self.progress(f"pictures: {found.read:,}; {found.without:,} items have none")
        return found.items

    def _log(self, items: pl.DataFrame | None) -> LogSummary | None:
        """Stage the log and return its summary.

        Returns None without a log, or if the log was ingested before against the same catalogue.
        """
        if not self.request.logs:
            return None
        rules, files = self.request.rules, find_files(self.request.logs)
        options: dict[str, object] = {
            "mapping": rules.mapping,
            "events": rules.events,
            "devices": rules.devices,
            "first_day": rules.first_day_start,
        }
        options |= given_options(  # left out where not given, so that older logs keep their digest
            time_zone=None if rules.time_zone == UTC else rules.time_zone,
            columns=rules.columns,
            encoding=rules.encoding,
            time_format=rules.time_format,
        )
        content, digest = digest_of(files, {}), digest_of(files, options)
        catalogue = items[ITEM_ID] if items is not None and self._has("items") else None
        against = None if catalogue is None else digest_of_ids(catalogue)
        if self._was_ingested(content, digest, against) and not self.observer.dry:
            self.progress("the log was ingested before: its days are kept")
            return None
        summary = stage_log(
            files,
            rules,
            self.staging,
            digest,
            now=self.now,
            catalogue=catalogue,
            landing=self.old,
            progress=self.progress,
            observer=self.observer,
        )
        self._refuse_empty(summary)
        quarantine = quarantine_path(self.staging, "interactions", digest).relative_to(self.staging)
        if (staged := self.staging / "quarantine.parquet").exists():
            (self.staging / quarantine).parent.mkdir(parents=True, exist_ok=True)
            staged.replace(self.staging / quarantine)
        self.quarantines.append(quarantine)
        self._record(
            ingest_report.log_entry(
                summary, files, digest=digest, content=content, options=options, against=against
            )
        )
        return summary

    def _refuse_empty(self, log: LogSummary) -> None:
        """Refuse a log without an accepted row.

        Raises:
            IngestError: names the reasons and the remedies.
        """
        if log.accepted:
            return
        reasons = (
            "; ".join(f"{reason}: {count:,}" for reason, count in log.rejected.items())
            or "it has no rows"
        )
        remedies = "".join(f"\n{one}" for one in ingest_report.remedies(log))
        raise IngestError(
            f"no row of {', '.join(self.request.logs)} was accepted ({reasons}); nothing was "
            f"changed{remedies}"
        )

    def _was_ingested(self, content: str, digest: str, against: str | None) -> bool:
        """Return whether the log was ingested with these options and this catalogue.

        Raises:
            IngestError: the log was ingested with other options.
        """
        for one in self.sources:
            if one["table"] != "interactions" or one["content"] != content:
                continue
            if one["digest"] != digest:
                raise IngestError(
                    f"{', '.join(self.request.logs)} was ingested before with other options "
                    f"({one['options']}): give the same options, or add --replace to start the "
                    "landing zone anew"
                )
            days = [
                self.landing / INTERACTIONS_FOLDER / day / ingested_file(digest)
                for day in one["days"]
            ]
            if one["against"] == against and all(path.exists() for path in days):
                return True
        return False

    def _report(self, items: pl.DataFrame | None, users: pl.DataFrame | None) -> IngestReport:
        """Return the report of the whole landing zone."""
        days: dict[str, int] = {}
        for source in self.sources:
            if source["table"] == "interactions":
                for day, rows in source["days"].items():
                    days[day] = days.get(day, 0) + rows
        user_size: TableSize = {"rows": 0, "derived": 0}
        item_size: TableSize = {"rows": 0, "derived": 0}
        if users is not None:
            unknown = users.filter(pl.col(AGE).is_null() & (pl.col(GENDER) == MISSING)).height
            user_size = {"rows": users.height, "derived": unknown}
        pictures = priced = 0
        if items is not None:
            item_size = {"rows": items.height, "derived": tables.count_derived(items)}
            pictures, priced = int((items["image"] != "").sum()), items[PRICE].count()
        return {
            "version": 1,
            "sources": self.sources,
            "users": user_size,
            "items": item_size,
            "pictures": pictures,
            "days": dict(sorted(days.items())),
            "calendar": ingest_report.calendar_entry(
                days, day_of(self.now, self.request.rules.time_zone)
            ),
            "left_out": ingest_report.tables_left_out(
                user_size, item_size, pictures=pictures, priced=priced
            ),
        }


def _with_derived(table: pl.DataFrame | None, derived: pl.DataFrame, key: str) -> pl.DataFrame:
    return derived if table is None else tables.upsert(table, derived, key)
