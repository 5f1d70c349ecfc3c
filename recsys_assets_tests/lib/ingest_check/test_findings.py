"""Test that a check says what the ingest of the same files then does, and changes nothing."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from recsys_assets.lib.ingest_check.findings import Findings, check
from recsys_assets.lib.ingest_check.page import left_out, page
from recsys_assets.lib.landing.quarantine import quarantine_counts
from recsys_assets.lib.own_data import charsets, sources, spill
from recsys_assets.lib.own_data.bring import Request, ingest
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.settings import Settings

DAY = 1_767_225_600  # 2026-01-01, UTC
NOW = DAY + 30 * 86_400


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Write a catalogue, pictures, users and a log with faults of many kinds."""
    (tmp_path / "photos").mkdir()
    for n in range(4):
        Image.new("RGB", (8, 8), (40 * n, 0, 0)).save(tmp_path / f"photos/{n}.png")
    broken = tmp_path / "photos/3.png"
    broken.write_bytes(broken.read_bytes()[:30])
    (tmp_path / "products.csv").write_text(
        "sku;title;eur;group;picture;stock\n"
        + "".join(
            f"i{n};Crème {n};{10 + n},50 €;Home > Pots;{n if n < 4 else f'gone{n}'}.png;{n}\n"
            for n in range(6)
        )
        + "i6;<script>alert(1)</script>;from 10;home > pots;;1\n"
        + ";without an id;1,00 €;x;;1\ni1;again;1,00 €;x;;1\n",
        encoding="cp1252",
    )
    (tmp_path / "users.csv").write_text("user_id,age\nu1,33\nu2,unknown\n,5\n")
    rows = [
        f"{(DAY + day * 86_400 + n * 60) * 1000},u{n % 5},i{n % 7},{('shown', 'Look')[n % 2]},c{n}"
        for day in range(15)
        for n in range(40)
    ]
    rows += [
        rows[0],  # occurs twice
        f"{DAY * 1000},,i1,Look,c",
        f"{DAY * 1000},u1,i99,Look,c",
        f"{DAY * 1000},u1,i1,zoom,c",
        "soon,u1,i1,Look,c",
        f"{DAY * 1000},u1",
        f"{(NOW + 3_600) * 1000},u1,i1,Look,c",
    ]
    (tmp_path / "log.csv").write_text("\n".join(["ts,visitor,sku,what,campaign", *rows]) + "\n")
    return tmp_path


def request_of(shop: Path, **changes: object) -> Request:
    rules = LogRules(
        {"user_id": "visitor", "item_id": "sku", "timestamp": "ts", "event_type": "what"},
        events={"Look": "View"},
    )
    options: dict[str, object] = {
        "logs": [str(shop / "log.csv")],
        "rules": rules,
        "catalogue": shop / "products.csv",
        "item_mapping": {
            "item_id": "sku",
            "name": "title",
            "price": "eur",
            "category_l1": "group",
            "image": "picture",
        },
        "images": shop / "photos",
        "users": shop / "users.csv",
    }
    return Request(**{**options, **changes})  # type: ignore[arg-type]


def checked(shop: Path, request: Request | None = None, **settings: object) -> Findings:
    given = Settings(home=shop / "home", start_day=None, **settings)  # type: ignore[arg-type]
    return check(shop / "home/landing", request or request_of(shop), given, now=NOW)


def compare(found: Findings, report: dict, landing: Path) -> None:
    """Compare everything that the page says with what the ingest did."""
    assert found.report is not None and not found.refused
    for name in ("days", "users", "items", "pictures", "calendar", "left_out"):
        assert found.report[name] == report[name], name  # type: ignore[literal-required]
    for entry in report["sources"]:
        own = found.pictures if entry["table"] == "images" else found.sources[entry["table"]].entry
        assert own is not None
        skipped = {"digest"} if entry["table"] == "images" else set()  # no picture is copied
        assert {k: v for k, v in own.items() if k not in skipped} == {
            k: v for k, v in entry.items() if k not in skipped
        }
    kept = quarantine_counts(landing)
    said = {
        table: {one.reason: one.rows for one in source.rejected}
        for table, source in found.sources.items()
        if source.rejected
    }
    assert said == kept


def test_the_ingest_does_what_the_check_says_and_the_check_changes_nothing(shop: Path):
    before = tree(shop)
    found = checked(shop)
    assert tree(shop) == before and not (shop / "home").exists()
    landing = shop / "home/landing"
    compare(found, ingest(landing, request_of(shop), now=NOW, start_day=None), landing)
    assert found.clicks == (15 * 20, 1)
    assert found.words == {("shown", "Impression"): 301, ("Look", "View"): 300}
    assert (found.missing_count, found.missing[0]) == (2, ("i4", "gone4.png"))
    assert left_out(found) == 7 + 2 + 1
    usual, longest = found.windows or ()
    assert [len(usual.training), len(usual.validation)] == [9, 3] and usual.clicks == (180, 60)
    assert [len(longest.training), len(longest.validation)] == [12, 3]

    again = checked(shop)  # what was ingested is read once more, and nothing is added
    assert again.log_is_known and not found.log_is_known
    assert "has this log already" in page(again, "recsys ingest", "now")
    done = tree(landing)
    assert ingest(landing, request_of(shop), now=NOW, start_day=None)["days"] == (
        again.report or {}
    ).get("days")
    assert tree(landing) == done
    assert [one.rows for one in again.sources["interactions"].rejected] == [
        one.rows for one in found.sources["interactions"].rejected
    ]


def test_an_added_log_is_compared_with_the_landing_zone(shop: Path):
    landing = shop / "home/landing"
    ingest(landing, request_of(shop), now=NOW, start_day=None)
    more = shop / "more.csv"
    rows = (shop / "log.csv").read_text().splitlines()
    more.write_text("\n".join([*rows[:3], f"{(DAY + 16 * 86_400) * 1000},u9,i1,Look,x"]) + "\n")
    request = request_of(
        shop, logs=[str(more)], catalogue=None, item_mapping={}, images=None, users=None
    )
    done = tree(landing)
    found = checked(shop, request)
    assert tree(landing) == done
    assert found.sources["interactions"].rejected[0].rows == 2  # the rows are there already
    report = ingest(landing, request, now=NOW, start_day=None)
    assert found.report is not None and found.report["days"] == report["days"]
    assert found.report["users"] == report["users"]


def test_examples_show_the_raw_value_and_what_was_read(shop: Path):
    found = checked(shop)
    columns = {
        (table, one.yours): one for table, source in found.sources.items() for one in source.columns
    }
    assert columns["interactions", "ts"].examples[0] == (str(DAY * 1000), "2026-01-01 00:00:00")
    assert columns["items", "eur"].examples[0] == ("10,50 €", "10.50")
    assert columns["items", "eur"].examples[-1] == ("from 10", "unknown")
    assert columns["items", "group"].examples[0] == ("Home > Pots", "Home, then Pots")
    assert columns["items", "stock"].ours is None and columns["items", "stock"].examples
    assert columns["users", "age"].examples == [("33", "33"), ("unknown", "unknown")]
    assert columns["interactions", "campaign"].examples[0] == ("c0", None)
    assert all(len(one.examples) <= 5 for one in columns.values())
    assert "Windows-1252" in found.sources["items"].files[0].form
    assert "semicolon" in found.sources["items"].files[0].form


def test_rejected_rows_have_their_place(shop: Path):
    reasons = {one.reason: one for one in checked(shop).sources["interactions"].rejected}
    malformed = reasons["malformed line"].examples[0]
    assert (malformed.file, malformed.row, malformed.text) == ("log.csv", 606, f"{DAY * 1000},u1")
    unknown = reasons["event_type is unknown"].examples[0]
    assert unknown.row == 604 and unknown.values["what"] == "zoom"


def test_every_part_that_is_refused_is_named_and_the_others_are_read(shop: Path):
    (shop / "users.csv").write_text("name,age\nx,3\n")
    log = shop / "log.csv"
    log.write_text(log.read_text() + f"{DAY * 1000},u1,12345.0,Look,c\n")
    found = checked(shop, request_of(shop, images=shop / "nowhere"))
    assert [one.part for one in found.refusals] == ["users", "interactions", "images"]
    text = page(found, "recsys ingest log.csv --check", "today")
    assert text.index("has no column &#x27;user_id&#x27;") < text.index("What was read")
    assert "a spreadsheet or a float column" in text and "--images" in text
    assert found.sources["items"].entry is not None
    assert found.sources["interactions"].files[0].rows  # its first rows are shown
    assert "Your files cannot be taken as they are" in text


def test_a_log_without_an_accepted_row_shows_why(shop: Path):
    found = checked(shop, request_of(shop, rules=LogRules(request_of(shop).rules.mapping)))
    assert not found.refused  # "shown" is known, "Look" is not
    log = shop / "log.csv"
    log.write_text("ts,visitor,sku,what\nx,u1,i1,Look\ny,u1,i1,Look\n")
    found = checked(shop)
    assert found.refused and found.sources["interactions"].rejected[0].rows == 2
    assert found.sources["interactions"].rejected[0].examples[0].row == 1
    examples = {one.yours: one.examples for one in found.sources["interactions"].columns}
    assert examples["ts"] == [("x", None), ("y", None)]  # what could not be read


def test_a_replacement_is_named(shop: Path):
    landing = shop / "home/landing"
    assert not checked(shop, request_of(shop, replace=True)).replaces
    ingest(landing, request_of(shop), now=NOW, start_day=None)
    done = tree(landing)
    found = checked(shop, request_of(shop, replace=True))
    assert found.replaces and tree(landing) == done
    assert "first removes the shop" in page(found, "recsys ingest --replace", "now")
    report = ingest(landing, request_of(shop, replace=True), now=NOW, start_day=None)
    compare(found, report, landing)


def test_a_simulated_home_is_left_alone_and_a_fresh_one_is_named(shop: Path):
    landing = shop / "home/landing"
    landing.mkdir(parents=True)
    (landing / "simulation.json").write_text("{}")
    found = checked(shop)
    assert not found.refused and "simulated shop" in found.fresh_home
    assert [path.name for path in landing.iterdir()] == ["simulation.json"]


def test_the_first_day_of_the_calendar_is_checked(shop: Path):
    given = Settings(home=shop / "home", start_day=date(2026, 1, 3))
    found = check(shop / "home/landing", request_of(shop), given, now=NOW)
    assert [one.part for one in found.refusals] == ["calendar"]
    assert "--first-day 2026-01-03" in found.refusals[0].message


def test_small_batches_give_the_same(shop: Path, monkeypatch: pytest.MonkeyPatch):
    whole = checked(shop)
    monkeypatch.setattr(charsets, "READ_BYTES", 700)
    monkeypatch.setattr(sources, "BATCH_ROWS", 7)
    monkeypatch.setattr(spill, "SPILL_ROWS", 50)
    parts = checked(shop)
    assert (parts.report, parts.words, parts.clicks) == (whole.report, whole.words, whole.clicks)
    assert parts.windows == whole.windows


def test_a_catalogue_that_the_text_encoder_cannot_read_is_named(tmp_path: Path):
    def found(text: str, encoder: str | None = None) -> Findings:
        path = tmp_path / "items.csv"
        path.write_text("item_id,name\n" + "".join(f"i{n},{text}\n" for n in range(60)))
        given = Settings(home=tmp_path / "home", start_day=None, text_encoder=encoder)
        return check(tmp_path / "home/landing", Request(catalogue=path), given, now=NOW)

    greek = found("Κόκκινη δερμάτινη τσάντα")
    assert greek.language is not None and not greek.language.known
    assert "does not know their language well" in page(greek, "recsys", "now")
    assert not greek.refused
    english = found("Red leather bag")
    assert english.language is not None and english.language.known
    assert "knows their words" in page(english, "recsys", "now")
    assert found("Red leather bag", encoder="no-such/encoder").language is None  # not here
