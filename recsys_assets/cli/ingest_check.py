"""Define ``recsys ingest --check``: read files, change nothing, write a page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from recsys_assets import local_time, partitions
from recsys_assets.files import write_text
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    from recsys_assets.lib.ingest_check.findings import Findings
    from recsys_assets.lib.own_data.bring import Request

#: Default name of the page.
PAGE = "ingest-check.html"
_FRESH_HOME = 'export RECSYS_HOME="$PWD/my-shop"\n'
_errors = Console(stderr=True)


def run(
    context: typer.Context,
    settings: Settings,
    requested: Callable[[], Request],
    *,
    check: bool,
    page: Path | None,
) -> int:
    """Check the files, write the page, print a summary and return the exit code.

    Args:
        context: of the command, from which the next command is made.
        settings: of the home.
        requested: returns the sources and how to read them, or raises IngestError.
        check: whether --check was given.
        page: the page; None: PAGE in the current folder.
    """
    from recsys_assets.lib.ingest_check import page as writing
    from recsys_assets.lib.landing.zone import IngestError

    now = int(time.time())
    try:
        if not check:
            raise IngestError("--page is the page that --check writes: add --check")
        target = _page(page, settings)
        findings = _findings(context, settings, requested, now)
        text = writing.page(findings, _next(context, findings), _clock(now, findings.zone))
        try:
            write_text(target, text)
        except OSError as error:
            raise IngestError(
                f"--page {target} cannot be written: {error}; name another file"
            ) from error
    except IngestError as error:
        _say_error(str(error))
        return 1
    _show(findings, target)
    return int(findings.refused)


def local_landing(settings: Settings) -> Path:
    """Return the landing zone's folder.

    Raises:
        IngestError: it is no folder of this machine.
    """
    from recsys_assets.lib.landing.zone import IngestError

    if "://" in settings.landing:
        raise IngestError(
            f"RECSYS_LANDING_URI is {settings.landing}: ingest into a folder, then copy it there"
        )
    return Path(settings.landing)


def _page(page: Path | None, settings: Settings) -> Path:
    """Return the path of the page.

    Raises:
        IngestError: it is no HTML file, or it lies in the landing zone.
    """
    from recsys_assets.lib.landing.zone import IngestError

    target = (page or Path(PAGE)).absolute()
    if target.suffix.lower() not in (".html", ".htm") or target.is_dir():
        # any other file may be one of the shop's
        raise IngestError(f"--page {page}: name a file that ends in .html")
    if "://" not in settings.landing and target.resolve().is_relative_to(
        Path(settings.landing).resolve()
    ):
        raise IngestError(
            f"--page {target} lies in the landing zone, which a check does not change: name a file "
            "in another folder"
        )
    return target


def _findings(
    context: typer.Context, settings: Settings, requested: Callable[[], Request], now: int
) -> Findings:
    from recsys_assets.lib.ingest_check.findings import RefusedPart, check, preview
    from recsys_assets.lib.landing.zone import IngestError
    from recsys_assets.lib.own_data.batch import TextForm

    try:
        request, landing = requested(), local_landing(settings)
    except IngestError as error:
        given = context.params
        sources = {
            table: ([str(one) for one in files], TextForm(encoding=given["encoding"]))
            for table, files in (
                ("items", [given["catalogue"]] if given["catalogue"] else []),
                ("users", [given["users"]] if given["users"] else []),
                ("interactions", given["logs"] or []),
            )
            if files
        }
        zone = partitions.time_zone(settings)
        return preview(zone, RefusedPart("options", str(error)), sources)
    with _errors.status("reading") as status:
        return check(
            landing,
            request,
            settings,
            now=now,
            progress=lambda message: status.update(Text(message)),
        )


def _next(context: typer.Context, findings: Findings) -> str:
    """Return the command to run next: the same one, or the check again if it is refused."""
    if findings.refused:
        return command(context, ["--check"])
    if not findings.fresh_home:
        return command(context, [])
    return _FRESH_HOME + command(context, [])


def command(context: typer.Context, more: list[str]) -> str:
    """Return the command of this call for a shell, without --check and --page.

    Args:
        context: of the command.
        more: arguments to add.
    """
    words = ["recsys", "ingest"]
    for parameter in context.command.params:
        value: Any = context.params.get(parameter.name or "")
        if parameter.name in ("check", "page") or not value:
            continue
        values = value if isinstance(value, (list, tuple)) else [value]
        for one in values:
            if parameter.param_type_name == "option":
                words.append(parameter.opts[0])
            if one is not True:
                words.append(str(one))
    return shlex.join([*words, *more])


def _clock(now: int, zone: str) -> str:
    moment = datetime.fromtimestamp(now, local_time.time_zone(zone))
    return f"{moment:%Y-%m-%d %H:%M} ({zone})"


def _say_error(message: str) -> None:
    _errors.print(message, style="red", highlight=False, markup=False, soft_wrap=True)


def _show(findings: Findings, target: Path) -> None:
    """Print what was read, what is refused, and where the page is."""
    console = Console()

    def line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    for table, found in findings.sources.items():
        lost = sum(one.rows for one in found.rejected)
        if found.entry is None:
            line(f"{table}: refused")
        else:
            line(
                f"{table}: {found.entry['rows_read']:,} rows read, {found.entry['accepted']:,} "
                f"taken, {lost:,} left out"
            )
    if findings.pictures is not None:
        line(f"images: {findings.pictures['accepted']:,} pictures found")
    if findings.language is not None and not findings.language.known:
        line("; ".join(findings.language.sentences))
    for refusal in findings.refusals:
        _say_error(refusal.message)
    if findings.fresh_home:
        line(f"the home holds another shop: {findings.fresh_home}")
    line(f"nothing was changed; the page: {target}")
