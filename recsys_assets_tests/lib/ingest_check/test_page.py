"""Test the page: escaping, long values, and how a browser shows it on a phone."""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from recsys_assets.lib.ingest_check.findings import check
from recsys_assets.lib.ingest_check.page import page
from recsys_assets.lib.own_data.bring import Request
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.settings import Settings
from recsys_assets_tests.support import browser

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
COMMAND = "export RECSYS_HOME=x\nrecsys ingest log.csv --map 'user_id=a b'"


@pytest.fixture
def text(tmp_path: Path) -> str:
    """Return the page of files in which every value and name tries to be HTML."""
    log, items = tmp_path / "log<b>.csv", tmp_path / "items.csv"
    log.write_text(
        f"user_id,item_id,timestamp,event_type,{EVIL}\n"
        + "".join(f"u{n},i1,{1_767_225_600 + n * 3_600},click,{'w' * 5_000}\n" for n in range(99))
        + f"u1,{EVIL.replace(',', '')},1767225600,click,1\n"
        + f"{EVIL},i1,1767225600,{EVIL},1\n"
        + f"{EVIL}\n"
    )
    items.write_text(
        f"item_id,name,category,price\ni1,{EVIL},\u202e{EVIL},1.50\ni2,{'n' * 999},c,\n"
    )
    found = check(
        tmp_path / "landing",
        Request([str(log)], LogRules({}), catalogue=items),
        Settings(home=tmp_path, start_day=None),
        now=1_800_000_000,
    )
    assert not found.refused
    return page(found, COMMAND, "2026-11-29 14:00 (UTC)")


class Tags(HTMLParser):
    """Collects the elements of a document, and whether each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag


def test_values_are_text_and_never_markup(text: str):
    tags = Tags()
    tags.feed(text)
    assert not tags.open and not tags.seen & {"script", "img", "b", "iframe", "link"}
    assert "&lt;script&gt;" in text and "\u202e" not in text
    assert "default-src 'none'" in text and "http://" not in text.replace("http-equiv", "")


def test_long_values_are_cut(text: str):
    assert "w" * 119 + "…" in text and "w" * 120 not in text and len(text) < 100_000


def test_the_command_is_whole(text: str):
    assert "export RECSYS_HOME=x\nrecsys ingest log.csv --map &#x27;user_id=a b&#x27;</pre>" in text


def test_the_page_names_what_an_analyst_asks_for(text: str):
    for words in (
        "Rows per day",
        "Events by kind",
        "click (",
        "malformed line: more or fewer fields",
        "of what visitors clicked",
        "The longest window that fits",
        "Full models: not yet",
        "unix seconds",
    ):
        assert words in text, words


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.NO_CHROMIUM)
def test_a_phone_shows_it_without_scrolling_sideways(text: str, tmp_path: Path):
    (tmp_path / "page.html").write_text(text)
    frame = tmp_path / "frame.html"
    frame.write_text(
        "<iframe id=f src=page.html style='width:390px;height:900px;border:0'></iframe><script>"
        "onload = () => { const r = f.contentDocument.documentElement;"
        "document.title = `${r.scrollWidth} of ${r.clientWidth}` }</script>"
    )
    done = subprocess.run(
        browser.command(
            tmp_path / "profile",
            "--allow-file-access-from-files",
            "--virtual-time-budget=5000",
            "--dump-dom",
            frame.as_uri(),
        ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    widths = re.search(r"<title>(\d+) of (\d+)</title>", done.stdout)
    assert widths is not None, done.stdout[-500:] + done.stderr[-500:]
    assert int(widths[1]) <= int(widths[2]) > 300
