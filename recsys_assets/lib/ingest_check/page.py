"""Write what a check found as one HTML page that loads nothing."""

from __future__ import annotations

from html import escape

from recsys_assets.lib.ingest_check.findings import Findings
from recsys_assets.lib.ingest_check.markup import Html, bullets, html, section, sentence, table
from recsys_assets.lib.ingest_check.remarks import worth_a_look
from recsys_assets.lib.ingest_check.sections import (
    PARTS,
    events,
    known_items,
    pictures,
    rejected,
    source,
    training,
)
from recsys_assets.lib.ingest_check.style import STYLE

#: Forbids the browser to load anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(findings: Findings, command: str, when: str) -> str:
    """Return the page of a check; all texts of the data are escaped.

    Args:
        findings: what was found.
        command: to run next.
        when: the time of the check, as text.
    """
    body = [
        "<h1>What we understood of your files</h1>",
        sentence(
            f"Checked on {when}. Nothing was changed: this page only says what `recsys ingest` "
            "would do with your files.",
            kind="soft",
        ),
        _verdict(findings),
        _refusals(findings),
        section("What was read", _counts(findings)),
        _next(findings, command),
        section("Worth a look", bullets(worth_a_look(findings))),
        *(source(one, findings) for one in findings.sources.values()),
        section("Days and events", events(findings)),
        section("Rows that are left out", rejected(findings)),
        section("Products of the log and of the catalogue", known_items(findings)),
        section("Pictures", pictures(findings)),
        section("How many days can be learnt from", training(findings)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta '
        f'http-equiv="Content-Security-Policy" content="{_POLICY}"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><title>Check of your files</title>'
        f"<style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def left_out(findings: Findings) -> int:
    """Return the number of rows that the ingest would leave out."""
    return sum(one.rows for found in findings.sources.values() for one in found.rejected)


def _verdict(findings: Findings) -> Html:
    if findings.refused:
        number = len(findings.refusals)
        kind, said = "refused", "Your files cannot be taken as they are."
        more = (
            f"{'One thing has' if number == 1 else f'{number} things have'} to be put right first. "
            "What could be read all the same is shown below."
        )
    elif lost := left_out(findings):
        read = sum(found.read for found in findings.sources.values())
        kind, said = "some", "Your files can be taken, without some rows."
        more = f"{lost:,} of {read:,} rows would be left out. The reasons are below."
    else:
        kind, said = "", "Your files can be taken. No row is left out."
        more = "Please look whether the examples below were read as you mean them."
    return Html(f'<div class="verdict {kind}">{sentence(said)}{sentence(more)}</div>')


def _refusals(findings: Findings) -> Html:
    parts = [
        f"<h3>{html(PARTS[one.part])}</h3>{''.join(map(sentence, one.message.splitlines()))}"
        for one in findings.refusals
    ]
    return section("To put right first", *parts)


def _counts(findings: Findings) -> Html:
    rows: list[tuple[object, ...]] = []
    for found in findings.sources.values():
        names = ", ".join(one.path.name for one in found.files[:3])
        more = f" and {found.file_count - 3} more" if found.file_count > 3 else ""
        entry, lost = found.entry, sum(one.rows for one in found.rejected)
        taken: object = "refused" if entry is None else entry["accepted"]
        read: object = (found.read or "–") if entry is None else entry["rows_read"]
        rows.append((PARTS[found.table], f"{names}{more}", read, taken, lost))
    if not rows:
        return Html("")
    return table("Rows", ("what", "files", "rows read", "taken", "left out"), rows)


def _next(findings: Findings, command: str) -> Html:
    if findings.refused:
        said = "Put right what is named above: change the file, or the options. Then check again:"
    elif findings.fresh_home:
        said = (
            "The present home holds another shop. Take the files into a home of their own (the "
            "folder my-shop; choose any name):"
        )
    else:
        said = "If the page shows what you mean, take the files in with this command:"
    return section("What to do next", sentence(said), f"<pre>{escape(command)}</pre>")
