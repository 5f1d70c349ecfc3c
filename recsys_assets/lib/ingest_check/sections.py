"""Write the sections of the page: columns, days, rejected rows, products, pictures, training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from recsys_assets.columns import EVENT_TYPE, EVENT_TYPES, ITEM_GENDER
from recsys_assets.lib.ingest_check.days import days_chart
from recsys_assets.lib.ingest_check.findings import Findings, SourceFindings
from recsys_assets.lib.ingest_check.markup import (
    Html,
    bullets,
    details,
    html,
    sentence,
    share,
    table,
)
from recsys_assets.lib.ingest_check.previews import FilePreview
from recsys_assets.lib.ingest_check.readings import ColumnReading
from recsys_assets.lib.ingest_check.rejected import RejectedExample
from recsys_assets.lib.ingest_check.remarks import language_sentence
from recsys_assets.lib.ingest_check.windows import TrainingWindow
from recsys_assets.lib.own_data.mapping import DUPLICATE, MALFORMED

#: Part of an ingest → its name for the reader.
PARTS = {
    "items": "Catalogue",
    "users": "Customers",
    "interactions": "Log",
    "images": "Pictures",
    "calendar": "Days",
    "options": "Options",
}
#: Our column → what it means.
_MEANINGS = {
    "user_id": "visitor",
    "item_id": "product number",
    "timestamp": "time",
    "event_id": "number of the event",
    "event_type": "what happened",
    "click": "clicked or not",
    "device_type": "device",
    "name": "name",
    "description": "description",
    "category_l1": "category",
    "category_l2": "second category",
    "price": "price",
    "item_gender": "for whom (F, M, Any)",
    "promoted": "promoted or not",
    "image": "picture",
    "uuid": "second number",
    "age": "age",
    "gender": "gender",
}
_KINDS = {
    "Impression": "shown, not clicked",
    "View": "clicked or opened",
    "AddToCart": "put into the cart",
    "ViewCart": "cart opened",
    "StartCheckout": "checkout begun",
    "Purchase": "bought",
    "Dismiss": "not interested: not shown again",
}
#: Reasons that need more words for the reader.
_REASONS = {
    MALFORMED: "malformed line: more or fewer fields than the header, or letters that cannot be "
    "read",
    DUPLICATE: "duplicate event: the same event is in the files, or in the shop, already",
}
_ROWS_SHOWN = 5


def source(found: SourceFindings, findings: Findings) -> Html:
    """Return the section of a catalogue, users or a log: its files and columns."""
    said = {one.message for one in findings.refusals}  # above, so not once more
    parts = ["".join(_file(one, said) for one in found.files)]
    if found.file_count > len(found.files):
        parts.append(sentence(f"and {found.file_count - len(found.files)} more files", kind="soft"))
    notes = _notes(found)
    if found.table == "items" and findings.language is not None:
        notes.append(language_sentence(findings.language))
    if notes:
        parts.append(f"<h3>What was recognised</h3>{bullets(notes)}")
    if used := [one for one in found.columns if one.ours]:
        parts.append(
            table(
                "Columns that are used",
                ("your column", "read as", "examples: your value → what was read"),
                [(one.yours, _meaning(one), _examples(one)) for one in used],
            )
        )
    if unused := [one for one in found.columns if not one.ours]:
        parts.append(
            table(
                "Columns of your file"
                if found.entry is None and not used
                else "Columns that are not used",
                ("your column", "examples"),
                [(one.yours, _examples(one)) for one in unused],
            )
        )
    title = PARTS[found.table]
    return Html(f"<section><h2>{html(title)}</h2>{''.join(parts)}</section>")


def _notes(found: SourceFindings) -> list[str]:
    entry = found.entry
    if entry is None or entry["table"] == "images":
        return []
    said = list(entry["notes"])
    if entry["table"] == "interactions":
        said[:0] = [f"Times are {one}." for one in entry["times"]]
    return said + [
        f"{what}: {count:,} rows"
        for what, count in sorted(entry["adjusted"].items(), key=lambda one: -one[1])
        # of every product without the column: no news
        if not (what.startswith(ITEM_GENDER) and ITEM_GENDER not in entry["mapping"])
    ]


def _file(one: FilePreview, said: Collection[str]) -> str:
    size = one.size / 1_000_000
    said = f"{size:,.1f} MB" if size >= 0.1 else f"{one.size:,} bytes"
    form = f" {one.form}." if one.form else ""
    text = Html(f"<p><code>{html(one.path.name)}</code> <span class='soft'>{said}.</span>")
    text = Html(f"{text}{html(form)}</p>")
    if one.problem and one.problem not in said:
        return text + sentence(one.problem)
    if not one.rows:
        return text
    rows = [["" if value is None else value for value in row] for row in one.rows[:_ROWS_SHOWN]]
    names = one.columns[: len(one.rows[0])]
    return text + details("First rows as they are in the file", table(one.path.name, names, rows))


def _meaning(one: ColumnReading) -> str:
    meaning = _MEANINGS.get(one.ours or "", one.ours or "")
    return meaning if meaning == one.ours else f"{meaning} ({one.ours})"


def _examples(one: ColumnReading) -> Html:
    if not one.examples:
        return Html("<span class='soft'>no value</span>")
    shown = []
    for given, read in one.examples:
        told = f"<code>{html(given)}</code>"
        if read is not None:
            same = "the same" if read == given else html(read)
            told += f'<span class="arrow">→</span>{same}'
        shown.append(f'<span class="example">{told}</span>')
    return Html("".join(shown))


def events(findings: Findings) -> Html:
    """Return the rows by day and the events by kind."""
    found = findings.sources.get("interactions")
    if found is None or found.entry is None or found.entry["table"] != "interactions":
        return Html("")
    entry = found.entry
    words: dict[str, Counter[str]] = {}
    for (word, kind), count in findings.words.items():
        words.setdefault(kind, Counter())[word] += count
    rows = []
    for kind in EVENT_TYPES:
        if kind in entry["events"]:
            given = ", ".join(
                f"{word} ({count:,})" for word, count in words.get(kind, Counter()).most_common(8)
            )
            rows.append((given or "every row", f"{kind}: {_KINDS[kind]}", entry["events"][kind]))
    unknown = findings.summary.unknown.get(EVENT_TYPE) if findings.summary else None
    if unknown:
        given = ", ".join(
            f"{word or 'empty'} ({count:,})" for word, count in unknown.most_common(8)
        )
        rows.append((given, "not understood: left out", 0))
    return Html(
        days_chart(entry["days"])
        + table("Events by kind", ("your words (rows)", "read as", "events"), rows)
        + sentence(
            "The words are counted before events that occur twice are left out.", kind="soft"
        )
    )


def rejected(findings: Findings) -> Html:
    """Return the rejected rows by reason, with examples."""
    parts = []
    for found in findings.sources.values():
        rows = [
            (
                _REASONS.get(one.reason, one.reason),
                one.rows,
                Html("".join(map(_rejected_row, one.examples))),
            )
            for one in found.rejected
        ]
        if rows:
            title = PARTS[found.table] + (" (as far as it was read)" if not found.entry else "")
            parts.append(table(title, ("reason", "rows", "examples"), rows))
    if parts:
        parts.append(
            sentence(
                "Rows are counted from 1, without the header. The ingest keeps every row that is "
                "left out, with its reason, so that you can correct it and give it again.",
                kind="soft",
            )
        )
    return Html("".join(parts))


def _rejected_row(one: RejectedExample) -> str:
    place = f"{one.file}, row {one.row:,}" if one.row is not None else one.file
    if one.text is not None:
        told = html(one.text)
    else:
        told = html(
            " · ".join(
                f"{name}: {'(empty)' if value is None else value}"
                for name, value in one.values.items()
            ),
            240,
        )
    return (
        f'<span class="example"><span class="soft">{html(place)}:</span> <code>{told}</code></span>'
    )


def known_items(findings: Findings) -> Html:
    """Return the share of clicks whose product is in the catalogue."""
    found = findings.sources.get("interactions")
    entry = found.entry if found else None
    if entry is None or entry["table"] != "interactions" or findings.report is None:
        return Html("")
    if entry["against"] is None:
        return sentence(
            "No catalogue was given, so every product of the log is taken, and only its number is "
            "known. Give the catalogue with --catalogue to see which products of the log it has."
        )
    known, others = findings.clicks
    items = findings.report["items"]["rows"]
    said = [
        f"{share(known, known + others)} of what visitors clicked, put into the cart or bought is "
        f"in the catalogue ({known:,} of {known + others:,} events)."
        if known + others
        else "The log has no event beyond what was only shown.",
        f"{entry['items']:,} of {items:,} products of the catalogue occur in the log.",
    ]
    if findings.summary is not None and findings.summary.form_of_ids:
        said.append(f"Perhaps a matter of writing: {findings.summary.form_of_ids}.")
    return bullets(said)


def pictures(findings: Findings) -> Html:
    """Return the pictures that were found, are missing or are broken."""
    entry = findings.pictures
    if entry is None or entry["table"] != "images" or findings.report is None:
        return Html("")
    items = findings.report["items"]["rows"]
    parts = [
        table(
            "Pictures",
            ("what", "number"),
            [
                ("picture files that are taken", entry["accepted"]),
                ("products with a picture", items - entry["items_without"]),
                ("products without a picture", entry["items_without"]),
                ("pictures that the catalogue names and the folder lacks", findings.missing_count),
                ("broken picture files", len(entry["unreadable"])),
                ("names that several files have (none is taken)", len(entry["ambiguous"])),
            ],
        )
    ]
    if findings.missing:
        parts.append(table("Named and not there", ("product", "picture"), findings.missing))
    for title, names in (
        ("Broken: cut off, or another kind of file", entry["unreadable"]),
        ("Several files have this name", entry["ambiguous"]),
    ):
        if names:
            parts.append(table(title, ("file",), [(name,) for name in names[:10]]))
    return Html("".join(parts))


def training(findings: Findings) -> Html:
    """Return the windows that fit, and what each one permits."""
    if findings.windows is None:
        return Html("")
    usual, longest = findings.windows
    if longest.training == usual.training:
        return Html(_window("The longest window that fits, and the one that is used", usual))
    setting = f" (with the setting RECSYS_TRAIN_DAYS={len(longest.training)})"
    return Html(
        _window("The window that is used", usual)
        + _window(f"The longest window that fits{setting}", longest)
    )


def _window(title: str, window: TrainingWindow) -> str:
    said = [_days("Learns from", window.training, window.clicks[0])]
    if window.validation:
        said.append(_days("Is judged on", window.validation, window.clicks[1]))
    else:
        said.append("No day is left to judge the result on.")
    return f"<h3>{html(title)}</h3>{bullets(said)}{bullets(window.permits)}"


def _days(what: str, days: list[str], clicks: int) -> str:
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"{what} {len(days)} day{'s' if len(days) > 1 else ''} ({span}) with {clicks:,} clicks."
