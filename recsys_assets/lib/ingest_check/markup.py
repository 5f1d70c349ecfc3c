"""Write pieces of HTML; every value of the data is cut and escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

#: Characters of a value that the page shows.
LONGEST = 120
_UNSEEN = {"\t": "⇥", "\n": "↵", "\r": "↵"}


class Html(str):
    """Marks text that is HTML already; any other text is escaped."""

    __slots__ = ()


def cut(value: str, longest: int = LONGEST) -> str:
    r"""Return a value in one line, without its end if it is long.

    Characters that do not print, and those that turn the direction of text, become visible.

    >>> cut("ab\tcd", 4)
    'ab⇥…'
    """
    text = value if len(value) <= longest else value[: longest - 1] + "…"
    return "".join(_UNSEEN.get(sign, sign if sign.isprintable() else "�") for sign in text)


def html(value: object, longest: int = LONGEST) -> Html:
    """Return a value as HTML."""
    return value if isinstance(value, Html) else Html(escape(cut(str(value), longest)))


def sentence(text: str, tag: str = "p", kind: str = "") -> Html:
    """Return a whole sentence as an element; sentences are not cut."""
    return Html(
        f"<{tag}{f' class={kind!r}' if kind else ''}>{html(text, max(len(text), 1))}</{tag}>"
    )


def bullets(texts: Iterable[str]) -> Html:
    """Return sentences as a list; nothing without one."""
    items = "".join(
        f"<li>{text}</li>" if isinstance(text, Html) else sentence(text, "li") for text in texts
    )
    return Html(f"<ul>{items}</ul>" if items else "")


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table; numbers stand to the right, and a wide table scrolls by itself."""
    head = "".join(f'<th scope="col">{html(name)}</th>' for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return Html(
        f'<div class="wide" role="region" tabindex="0" aria-label="{html(caption)}"><table>'
        f"<caption>{html(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{html(value)}</td>"


def details(summary: str, content: str) -> Html:
    """Return content that the reader opens."""
    return Html(f"<details><summary>{html(summary)}</summary>{content}</details>")


def section(title: str, *parts: str) -> Html:
    """Return a section; nothing if it has no part."""
    content = "".join(parts)
    return Html(f"<section><h2>{html(title)}</h2>{content}</section>" if content else "")


def share(part: int, whole: int) -> str:
    """Return a share in percent; never 100 % or 0 % where it is not all or nothing.

    >>> share(1, 3), share(9_999, 10_000), share(0, 5)
    ('33 %', '99.9 %', '0 %')
    """
    if part in (0, whole):
        return "0 %" if part == 0 else "100 %"
    percent = 100 * part / whole
    if 1 <= percent <= 99:
        return f"{percent:.0f} %"
    return f"{min(max(percent, 0.1), 99.9):.1f} %"
