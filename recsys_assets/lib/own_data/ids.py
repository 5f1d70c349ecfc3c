"""Find ids that a spreadsheet or a float column spoilt, and those that differ in form alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from recsys_assets.lib.landing.zone import IngestError

#: 4.00639E+12, as spreadsheets write long numbers; digits are lost.
_SCIENTIFIC = r"^-?\d[.,]\d+[eE]\+?\d+$"
_WHOLE_FLOAT, _FRACTION = r"^-?\d+\.0+$", r"^-?\d+\.\d*[1-9]\d*$"
_EXAMPLES = 3
#: What two forms of an id may differ in → the id in the form that they share.
_FORMS: dict[str, Callable[[pl.Series], pl.Series]] = {
    "blanks at the ends": lambda text: text.str.strip_chars(),
    "case": lambda text: text.str.to_lowercase(),
    "leading zeros": lambda text: text.str.replace(r"^0+(.)", "$1"),
    "case and blanks": lambda text: text.str.strip_chars().str.to_lowercase(),
    "punctuation and case": lambda text: text.str.to_lowercase().str.replace_all(
        r"[^\p{L}\p{N}]", ""
    ),
}


def refuse_spoilt(path: Path, column: str, text: pl.Series) -> None:
    """Refuse ids that went through a spreadsheet or a float column.

    12345.0 is refused where every id with a decimal point ends in .0. Beside 100.1, 100.0 is an id.

    Args:
        path: the file.
        column: its column.
        text: some of its ids, as text.

    Raises:
        IngestError: names the column, an id and the remedy.
    """
    signs = text.str.contains(".", literal=True) | text.str.contains(",", literal=True)
    text = text.filter(signs)  # few ids have one, and this is fast
    long = text.filter(text.str.contains(_SCIENTIFIC))
    whole = text.filter(text.str.contains(_WHOLE_FLOAT))
    if len(long):
        raise IngestError(
            f"{path}: column {column!r} has ids as {long[0]!r}: a spreadsheet has rounded them, "
            "and no reader can get their digits back; export the column again as text (in a "
            "spreadsheet: import it as text before saving)"
        )
    if len(whole) and not text.str.contains(_FRACTION).any():
        raise IngestError(
            f"{path}: column {column!r} has ids as {whole[0]!r}: a spreadsheet or a float column "
            "has changed them, so they match no other file; export the column again as text "
            "(pandas: read it with dtype=str)"
        )


def difference_in_form(unknown: pl.Series, known: pl.Series) -> str | None:
    """Return a sentence on how most unknown ids differ from known ones in form alone.

    None where no unknown id becomes a known one by another form.

    Args:
        unknown: ids that are not in ``known``.
        known: distinct ids.
    """
    unknown = unknown.unique()
    best, most = None, 0
    for name, form in _FORMS.items():
        ours = pl.DataFrame({"id": known, "form": form(known)}).unique("form", keep="none")
        theirs = pl.DataFrame({"other": unknown, "form": form(unknown)})
        found = theirs.join(ours, on="form")
        if found.height > most:
            other, own = found.row(0, named=True)["other"], found.row(0, named=True)["id"]
            most = found.height
            best = (
                f"{found.height:,} of these items differ from one of the catalogue only in {name} "
                f"(the log has {other!r}, the catalogue {own!r})"
            )
    return best
