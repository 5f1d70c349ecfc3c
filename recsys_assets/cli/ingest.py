"""Define ``recsys ingest``: write own data into the landing zone."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from recsys_assets import local_time, partitions
from recsys_assets.cli import ingest_check
from recsys_assets.files import write_json
from recsys_assets.settings import Settings, get_settings

_errors = Console(stderr=True)
Pairs = list[str]


def ingest(
    context: typer.Context,
    logs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LOG]…",
            show_default=False,
            help="Interaction logs: Parquet, CSV, TSV or Excel files, folders or quoted globs.",
        ),
    ] = None,
    map_: Annotated[
        Pairs | None,
        typer.Option(
            "--map",
            metavar="OURS=YOURS",
            help="The log's column for user_id, item_id, timestamp (required), event_id, "
            "event_type, click, device_type; not needed for a column of the same name.",
        ),
    ] = None,
    event_type: Annotated[
        Pairs | None,
        typer.Option(
            metavar="YOURS=OURS",
            help="The log's word for Impression, View, AddToCart, ViewCart, StartCheckout, "
            "Purchase or Dismiss (not interested).",
        ),
    ] = None,
    device: Annotated[
        Pairs | None,
        typer.Option(
            metavar="YOURS=OURS", help="The log's word for mobile, desktop, tablet or -1 (unknown)."
        ),
    ] = None,
    first_day: Annotated[
        str | None, typer.Option(metavar="DAY", help="Leave out rows before this day (ISO day).")
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            help="Products: Parquet, CSV, TSV, Excel, or YAML of the Retail Demo Store's form."
        ),
    ] = None,
    item_map: Annotated[
        Pairs | None,
        typer.Option(
            metavar="OURS=YOURS",
            help="The catalogue's column for item_id (required), name, description, category_l1, "
            "category_l2, price, item_gender, promoted, image, uuid.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of PNG, JPEG, WebP or GIF files, named by the image column or item id."
        ),
    ] = None,
    users: Annotated[Path | None, typer.Option(help="Users: Parquet, CSV, TSV or Excel.")] = None,
    user_map: Annotated[
        Pairs | None,
        typer.Option(
            metavar="OURS=YOURS", help="The users' column for user_id (required), age, gender."
        ),
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="The shop's time zone, such as Europe/Berlin: decides days, hours and weekdays, "
            "and reads times that name no zone. Default: that of the home, else UTC.",
        ),
    ] = None,
    time_format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Form of the log's times, as of strptime ('%d/%m/%Y %H:%M'). Default: detected.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Names of the columns of a log without a header."),
    ] = None,
    item_columns: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Names of the columns of a catalogue without a header."),
    ] = None,
    user_columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…", help="Names of the columns of a users' table without a header."
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Charset of text files, such as cp1252. Default: detected.")
    ] = None,
    decimal: Annotated[
        str | None,
        typer.Option(metavar="SIGN", help="Decimal sign of prices, . or ,. Default: detected."),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="First remove the simulated or ingested shop in the landing zone."
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Change nothing: read the files and write a page (HTML) that shows what was "
            "understood. Ends with 1 if the files or options would be refused, else with 0.",
        ),
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help=f"The page that --check writes. Default: {ingest_check.PAGE} in this folder.",
        ),
    ] = None,
) -> None:
    """Write your own logs, catalogue, pictures and users into the landing zone.

    Reports every rejected row and everything that was left out. With --check it only reads, and
    writes a page for the person who knows the data.
    """
    from recsys_assets.lib.landing.zone import IngestError
    from recsys_assets.lib.own_data.bring import Request
    from recsys_assets.lib.own_data.bring import ingest as take
    from recsys_assets.lib.own_data.mapping import LogRules, parse_pairs

    settings = get_settings()

    def requested() -> Request:
        zone = _time_zone(settings, time_zone, replace)
        rules = LogRules(
            parse_pairs("--map", map_ or []),
            parse_pairs("--event-type", event_type or []),
            parse_pairs("--device", device or []),
            _first_second(first_day, zone),
            zone,
            _names(columns),
            encoding,
            time_format,
        )
        return Request(
            logs or [],
            rules,
            catalogue,
            parse_pairs("--item-map", item_map or []),
            images,
            users,
            parse_pairs("--user-map", user_map or []),
            replace,
            _names(item_columns),
            _names(user_columns),
            encoding,
            decimal,
        )

    if check or page is not None:
        code = ingest_check.run(context, settings, requested, check=check, page=page)
        raise typer.Exit(code)
    before = partitions.stored_calendar(settings)
    if before:
        before = {"time_zone": local_time.UTC, **before}
    try:
        request = requested()
        report = take(
            ingest_check.local_landing(settings),
            request,
            now=int(time.time()),
            start_day=settings.start_day,
            progress=_say,
        )
    except IngestError as error:
        _errors.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    after = {**before, "time_zone": request.rules.time_zone}
    if settings.start_day is None and report["calendar"]:
        after["start_day"] = report["calendar"]["start_day"]
    write_json(settings.home / partitions.CALENDAR_FILE, after)
    show(report, settings, Console())
    changes = [
        f"{words} {before[key]}"
        for key, words in (("start_day", "began on"), ("time_zone", "had days of"))
        if key in before and before[key] != after[key]
    ]
    if changes:
        _say(
            f"the calendar of this home {' and '.join(changes)} before: if Dagster runs, start it "
            "again with `recsys down` and `recsys up`"
        )


def _say(message: str) -> None:
    _errors.print(message, highlight=False, markup=False, soft_wrap=True)


def _names(columns: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in columns.split(",")) if columns else ()


def _time_zone(settings: Settings, given: str | None, replace: bool) -> str:
    """Return the time zone of the log.

    Raises:
        IngestError: there is no such zone, RECSYS_TIME_ZONE names another one, or the days of the
            landing zone are those of another one.
    """
    from recsys_assets.lib.landing.zone import IngestError, was_ingested

    zone, known = given or partitions.time_zone(settings), settings.time_zone
    try:
        local_time.time_zone(zone)
    except local_time.UnknownTimeZone as error:
        raise IngestError(f"--time-zone: {error}") from error
    if known and zone != known:
        raise IngestError(
            f"--time-zone is {zone}, but RECSYS_TIME_ZONE is {known}; nothing was changed: unset "
            "one of them, or make both equal"
        )
    before = partitions.stored_calendar(settings).get("time_zone", local_time.UTC)
    if zone != before and not replace and was_ingested(settings.landing):
        raise IngestError(
            f"the days of {settings.landing} are those of {before}, not of {zone}; nothing was "
            f"changed: give --time-zone {before}, or add --replace and all logs to start the "
            "landing zone anew"
        )
    return zone


def _first_second(first_day: str | None, zone: str) -> int | None:
    """Return the first second of an ISO day of the zone, or None without a day."""
    from recsys_assets.lib.landing.zone import IngestError

    try:
        return (
            None
            if first_day is None
            else partitions.day_bounds(date.fromisoformat(first_day).isoformat(), zone)[0]
        )
    except ValueError as error:
        raise IngestError(
            f"--first-day {first_day} must be a day of the form 2026-11-20"
        ) from error


def show(report: dict[str, Any], settings: Settings, console: Console) -> None:
    """Print the report as tables and lines."""
    table = Table("table", "source", "rows read", "accepted", "rejected", title=settings.landing)
    for source in report["sources"]:
        rejected = (
            "\n".join(f"{reason}: {count:,}" for reason, count in _by_count(source["rejected"]))
            or "none"
        )
        files = source["files"]
        name = Path(files[0]).name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        table.add_row(
            source["table"], name, f"{source['rows_read']:,}", f"{source['accepted']:,}", rejected
        )
    console.print(table)

    def line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    for source in report["sources"]:
        if source["mapping"]:
            line(
                f"{source['table']}: "
                + ", ".join(
                    f"{ours} ← {yours}" for ours, yours in sorted(source["mapping"].items())
                )
            )
        if source.get("times"):
            line(f"{source['table']}: times are {'; '.join(source['times'])}")
        if source.get("columns_not_taken"):
            line(f"{source['table']}: columns not taken: {', '.join(source['columns_not_taken'])}")
        for what, count in _by_count(source.get("adjusted", {})):
            line(f"{source['table']}: {what}: {count:,} rows")
        for name in source.get("unreadable", []):
            line(f"{source['table']}: not a readable picture: {name}")
        for name in source.get("ambiguous", []):
            line(f"{source['table']}: several files have this name, so none is taken: {name}")
        for note in source.get("notes", []):
            line(f"{source['table']}: {note}")
        if source.get("words"):
            words = ", ".join(f"{word} → {kind}" for word, kind in sorted(source["words"].items()))
            line(f"{source['table']}: words of events: {words}")
    line(
        f"landing zone: {sum(report['days'].values()):,} events, {report['users']['rows']:,} "
        f"users, {report['items']['rows']:,} items, {report['pictures']:,} items with a picture"
    )
    for text in [
        *(one for source in report["sources"] for one in source.get("left_out", [])),
        *report["left_out"],
    ]:
        line(f"left out: {text}")
    for text in (one for source in report["sources"] for one in source.get("remedies", [])):
        line(f"to mend: {text}")
    if any(source["rejected"] for source in report["sources"]):
        line(f"rejected rows are kept in {settings.landing}/quarantine, each with its reason")
    _show_calendar(report["calendar"], settings, line)


def _by_count(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _show_calendar(
    calendar: dict[str, Any] | None, settings: Settings, line: Callable[[str], None]
) -> None:
    if calendar is None:
        return line("no event yet: ingest a log before the graph is materialised")
    where = "RECSYS_START_DAY" if settings.start_day else settings.home / partitions.CALENDAR_FILE
    line(
        f"calendar: {calendar['start_day']} to {calendar['last_day']}, days of "
        f"{partitions.time_zone(settings)}, from {where} (for another home: "
        f"RECSYS_START_DAY={calendar['start_day']})"
    )
    for note in calendar["notes"]:
        line(f"calendar: {note}")
    if calendar["as_of"]:
        training, validation = partitions.split_of(
            calendar["as_of"], calendar["start_day"], settings
        )
        line(
            f"calendar: the newest day to train as of is {calendar['as_of']}, with "
            f"{len(training)} training and {len(validation)} validation days"
        )
        line(f"next: recsys materialize --as-of {calendar['as_of']}")
