"""Test the ingest of logs: ids, times, events, rejected rows, repeated runs.

Every landing zone is read back by its contract.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.columns import RAW_ITEMS, RAW_USERS
from recsys_assets.lib.landing.quarantine import quarantine_counts
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data import bring as module
from recsys_assets.lib.own_data import charsets, publish, sources, spill
from recsys_assets.lib.own_data.bring import Request, ingest
from recsys_assets.lib.own_data.mapping import LogRules, parse_pairs
from recsys_assets.lib.own_data.sources import find_files
from recsys_assets.lib.quality import contracts, landing_day
from recsys_assets.lib.simulator import shop
from recsys_assets.operations import full_graph
from recsys_assets.settings import Settings

DAY = 1_767_225_600  # 2026-01-01, UTC
NOW = DAY + 30 * 86_400


def take(
    landing: Path,
    *logs: Path | str,
    now: int = NOW,
    start_day: date | None = None,
    replace: bool = False,
    **rules: object,
) -> dict:
    return ingest(
        landing,
        Request(logs=list(map(str, logs)), rules=LogRules(**rules), replace=replace),
        now=now,
        start_day=start_day,
    )


def landed(landing: Path) -> pl.DataFrame:
    """Read every event of a landing zone through the contracts of the graph."""
    days = sorted(folder.name for folder in (landing / "interactions").iterdir())
    contracts.check_table(landing / "users/users.parquet", RAW_USERS).raise_if_failed()
    contracts.check_table(landing / "catalogue/items.parquet", RAW_ITEMS).raise_if_failed()
    return pl.concat(landing_day.read_landing_day(landing, day).frame for day in days)


def tree(landing: Path) -> dict[str, tuple[str, int]]:
    """Return file → (digest, time of its last change)."""
    return {
        str(p.relative_to(landing)): (
            hashlib.sha256(p.read_bytes()).hexdigest(),
            p.stat().st_mtime_ns,
        )
        for p in landing.rglob("*")
        if p.is_file()
    }


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


LONG = [2**63 - 1, 2**53 + 1, 2**53, -5]
UUIDS = [uuid.UUID(int=n << 64 | 7) for n in range(1, 5)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series(LONG, dtype=pl.Int64), list(map(str, LONG))),
        (
            pl.Series([2**64 - 1, 2**63, 1, 0], dtype=pl.UInt64),
            [str(2**64 - 1), str(2**63), "1", "0"],
        ),
        (pl.Series(["007", " a b ", "NA", "naïve/ü"]), ["007", " a b ", "NA", "naïve/ü"]),
        (pl.Series(["x", "y", "x", "z"], dtype=pl.Categorical), ["x", "y", "x", "z"]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_ids_survive_exactly(tmp_path: Path, values: pl.Series, expected: list[str], kind: str):
    log = pl.DataFrame(
        {"user_id": values, "item_id": values, "timestamp": [DAY, DAY + 1, DAY + 2, DAY + 3]}
    )
    path = tmp_path / f"log.{kind}"
    log.write_csv(path) if kind == "csv" else log.write_parquet(path)
    report = take(tmp_path / "landing", path)
    events = landed(tmp_path / "landing")
    assert events["user_id"].to_list() == events["item_id"].to_list() == expected
    assert report["sources"][0]["accepted"] == 4
    users = pl.read_parquet(tmp_path / "landing/users/users.parquet")["user_id"]
    items = pl.read_parquet(tmp_path / "landing/catalogue/items.parquet")["item_id"]
    assert set(users) == set(items) == set(expected)


@pytest.mark.parametrize("kind", [pa.uuid(), pa.binary(16)])
def test_uuids_of_parquet_become_their_usual_text(tmp_path: Path, kind: pa.DataType):
    raw = pa.array([one.bytes for one in UUIDS], kind)
    pq.write_table(
        pa.table({"user_id": raw, "item_id": raw, "timestamp": [DAY] * 4}), tmp_path / "log.parquet"
    )
    take(tmp_path / "landing", tmp_path / "log.parquet")
    assert sorted(landed(tmp_path / "landing")["user_id"]) == sorted(map(str, UUIDS))


def test_a_float_is_no_id(tmp_path: Path):
    pl.DataFrame(
        {"visitor": [1.0, None], "item_id": ["a", "b"], "timestamp": [DAY, DAY]}
    ).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(
        IngestError, match=r"column 'visitor' is double, which cannot hold an id exactly.*string"
    ):
        take(tmp_path / "landing", tmp_path / "l.parquet", mapping={"user_id": "visitor"})


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
SECONDS = int(MOMENT.timestamp())


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ([SECONDS], "unix seconds"),
        ([SECONDS * 1_000 + 678], "unix milliseconds"),
        ([SECONDS * 1_000_000 + 678_000], "unix microseconds"),
        ([SECONDS * 10**9 + 678_000_000], "unix nanoseconds"),
        ([SECONDS + 0.678], "unix seconds"),
        (["2026-01-02T03:04:05.678Z"], "ISO text"),
        (["2026-01-02 03:04:05"], "ISO text"),
        (["2026-01-02T05:34:05+02:30"], "ISO text"),
        (["2026-01-01T22:04:05.678123-0500"], "ISO text"),
        (["2026-01-02 03:04:05 UTC"], "ISO text"),
        ([f" {SECONDS} "], "unix seconds"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_every_form_of_a_time(tmp_path: Path, written: list, named: str, kind: str):
    log = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": written})
    path = tmp_path / f"log.{kind}"
    log.write_csv(path) if kind == "csv" else log.write_parquet(path)
    report = take(tmp_path / "landing", path)
    assert landed(tmp_path / "landing")["timestamp"].to_list() == [SECONDS]
    assert report["sources"][0]["times"][0].startswith(named)
    assert report["days"] == {"2026-01-02": 1}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series([MOMENT], dtype=pl.Datetime("us", "UTC")), SECONDS),
        (
            pl.Series([MOMENT], dtype=pl.Datetime("ms", "UTC")).dt.convert_time_zone("Asia/Tokyo"),
            SECONDS,
        ),
        (pl.Series([MOMENT.replace(tzinfo=None)], dtype=pl.Datetime("ns")), SECONDS),
        (pl.Series([MOMENT.date()]), DAY + 86_400),
        (pl.Series([SECONDS], dtype=pl.Int32), SECONDS),
        (pl.Series([SECONDS], dtype=pl.UInt32), SECONDS),
        (pl.Series([SECONDS * 1_000], dtype=pl.UInt64), SECONDS),
    ],
)
def test_times_by_parquet_type(tmp_path: Path, values: pl.Series, expected: int):
    pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": values}).write_parquet(
        tmp_path / "log.parquet"
    )
    take(tmp_path / "landing", tmp_path / "log.parquet")
    assert landed(tmp_path / "landing")["timestamp"].to_list() == [expected]


def test_each_rejected_row_is_counted_once_by_its_reason_and_kept(tmp_path: Path):
    log = write_csv(
        tmp_path / "log.csv",
        "who,what,when,did,on,id",
        f"u1,i1,{DAY},view,Mobile,e1",
        f"u1,i2,{DAY + 5},impression,,e2",
        f",i1,{DAY},view,mobile,n1",
        f"  ,i1,{DAY},view,mobile,n2",
        f"-1,i1,{DAY},view,mobile,n3",
        f"{'u' * 129},i1,{DAY},view,mobile,n4",
        f"u1,,{DAY},view,mobile,n5",
        "u1,i1,,view,mobile,n6",
        "u1,i1,yesterday,view,mobile,n7",
        "u1,i1,2026-02-30,view,mobile,n8",
        "u1,i1,20260101,view,mobile,n9",
        f"u1,i1,{NOW + 1},view,mobile,n10",
        f"u1,i1,{DAY},refund,mobile,n11",
        f"u1,i1,{DAY},view,fridge,n12",
        f"u2,i1,{DAY + 9},view,mobile,e1",
        "broken,line",
        f"u1,i1,{DAY + 7},add_to_cart,tablet,e3",
        "broken,line,with,too,many,fields,here",
    )
    mapping = dict(
        user_id="who",
        item_id="what",
        timestamp="when",
        event_type="did",
        device_type="on",
        event_id="id",
    )
    report = take(tmp_path / "landing", log, mapping=mapping)
    source = report["sources"][0]
    expected = {
        "user_id is null or empty": 2,
        "user_id is '-1', which stands for unknown visitors": 1,
        "user_id is longer than 128 characters or not printable": 1,
        "item_id is null or empty": 1,
        "timestamp cannot be read": 3,
        "timestamp is before 1990": 1,
        "timestamp is in the future": 1,
        "event_type is unknown": 1,
        "device_type is unknown": 1,
        "duplicate event": 1,
        "malformed line": 2,
    }
    assert source["rejected"] == expected
    assert source["rows_read"] == 18 == source["accepted"] + sum(expected.values())
    assert quarantine_counts(tmp_path / "landing") == {"interactions": expected}
    events = landed(tmp_path / "landing").sort("event_id")
    assert events.select("event_id", "event_type", "device_type", "click").rows() == [
        ("e1", "View", "mobile", 1),
        ("e2", "Impression", "-1", 0),
        ("e3", "AddToCart", "tablet", 1),
    ]

    kept = pl.read_parquet(tmp_path / f"landing/quarantine/interactions/{source['digest']}.parquet")
    assert set(kept["source_file"]) == {str(log)}
    lines = log.read_text().splitlines()
    assert len(set(kept["source_row"])) == kept.height == 15
    for row in kept.iter_rows(named=True):  # each is found again in the file, word for word
        given = row["source_line"] or ",".join(
            row[name] or "" for name in ("who", "what", "when", "did", "on", "id")
        )
        assert given == lines[row["source_row"]]
    assert any(
        "'refund' (1)" in one and "take another one back" in one for one in source["remedies"]
    )
    assert any("'fridge' (1)" in one and "--device" in one for one in source["remedies"])


def test_a_mended_quarantine_file_can_be_ingested_the_same_way(tmp_path: Path):
    log = write_csv(
        tmp_path / "log.csv",
        "who,item_id,timestamp,event_type",
        f"007,i,{DAY},View",
        f"008,i,{DAY},took",
    )
    first = take(tmp_path / "landing", log, mapping={"user_id": "who"})
    kept = tmp_path / f"landing/quarantine/interactions/{first['sources'][0]['digest']}.parquet"
    second = take(
        tmp_path / "landing", kept, mapping={"user_id": "who"}, events={"took": "Purchase"}
    )
    assert second["sources"][1]["accepted"] == 1
    assert set(landed(tmp_path / "landing").select("user_id", "event_type").rows()) == {
        ("007", "View"),
        ("008", "Purchase"),
    }


@pytest.mark.parametrize(
    ("header", "row", "expected", "left_out"),
    [
        ("", "", ("View", 1), "positives only"),
        (",click", ",1", ("View", 1), None),
        (",click", ",0", ("Impression", 0), None),
        (",click", ",true", ("View", 1), None),
        (",event_type", ",PURCHASE", ("Purchase", 1), "no View and no Impression"),
        (",event_type", ",view", ("View", 1), "no logged negatives"),
        (",event_type,click", ",Impression,0", ("Impression", 0), None),
    ],
)
def test_what_a_row_is(
    tmp_path: Path, header: str, row: str, expected: tuple[str, int], left_out: str | None
):
    log = write_csv(tmp_path / "log.csv", f"user_id,item_id,timestamp{header}", f"u,i,{DAY}{row}")
    report = take(tmp_path / "landing", log)
    assert landed(tmp_path / "landing").select("event_type", "click").rows() == [expected]
    said = " ".join(report["sources"][0]["left_out"])
    assert (left_out or "no device_type") in said
    assert ("positives" in said) is (left_out == "positives only")


def test_a_click_that_contradicts_its_event_is_rejected(tmp_path: Path):
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp,event_type,click",
        f"u,i,{DAY},View,0",
        f"u,i,{DAY},Impression,1",
        f"u,i,{DAY},View,maybe",
        f"u,i,{DAY},View,1",
    )
    report = take(tmp_path / "landing", log)
    assert report["sources"][0]["rejected"] == {
        "click contradicts event_type": 2,
        "click is not 0 or 1": 1,
    }


def test_words_are_mapped(tmp_path: Path):
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp,event_type,device_type",
        f"u,i,{DAY},Kauf,Handy",
        f"u,i,{DAY},view,TV",
    )
    take(
        tmp_path / "landing",
        log,
        events={"Kauf": "Purchase"},
        devices={"Handy": "mobile", "TV": "-1"},
    )
    assert set(landed(tmp_path / "landing").select("event_type", "device_type").rows()) == {
        ("Purchase", "mobile"),
        ("View", "-1"),
    }
    with pytest.raises(IngestError, match=r"--event-type Kauf=Buy: 'Buy' is not one of Impression"):
        LogRules(events={"Kauf": "Buy"})
    with pytest.raises(IngestError, match="name=value"):
        parse_pairs("--map", ["user_id"])
    with pytest.raises(IngestError, match=r"--map names 'user_id' twice"):
        parse_pairs("--map", ["user_id=a", "user_id=b"])


def test_csv_and_parquet_of_the_same_log_give_the_same_events(tmp_path: Path):
    log = pl.DataFrame(
        {
            "user_id": LONG,
            "item_id": ["a", "b", "c", "d"],
            "timestamp": [MOMENT + timedelta(milliseconds=n) for n in range(4)],
        }
    )
    log.write_parquet(tmp_path / "a.parquet")
    log.with_columns(pl.col("timestamp").dt.epoch("ms")).write_csv(
        tmp_path / "b.csv", separator=";"
    )
    with gzip.open(tmp_path / "c.csv.gz", "wb") as stream:
        log.write_csv(stream)
    frames = []
    for name in ("a.parquet", "b.csv", "c.csv.gz"):
        take(tmp_path / name[0], tmp_path / name)
        frames.append(landed(tmp_path / name[0]))
    assert frames[0].equals(frames[1]) and frames[0].equals(frames[2])
    assert frames[0]["event_id"].n_unique() == 4


def test_an_event_id_says_the_row_and_is_the_same_tomorrow(tmp_path: Path):
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp",
        f"u,i,{DAY}",
        f"u,i,{DAY}",
        f"u,i,{DAY}.5",
        f"u,ii,{DAY}",
    )
    report = take(tmp_path / "landing", log)
    assert report["sources"][0]["rejected"] == {
        "duplicate event": 1
    }  # half a second later is another event
    said = "\x1f".join(("u", "i", str(DAY * 1_000_000), "View", "-1"))
    golden = "i" + hashlib.blake2b(said.encode(), digest_size=10).hexdigest()
    assert golden in set(landed(tmp_path / "landing")["event_id"])


def many(path: Path, rows: int, days: int = 3) -> Path:
    pl.DataFrame(
        {
            "user_id": [f"u{n % 97}" for n in range(rows)],
            "item_id": [f"i{n % 31}" for n in range(rows)],
            "timestamp": [DAY + n * 7_919 % (days * 86_400) for n in range(rows)],
        }
    ).write_parquet(path)
    return path


def test_the_same_again_changes_nothing(tmp_path: Path):
    log, landing = many(tmp_path / "log.parquet", 5_000), tmp_path / "landing"
    first = take(landing, log)
    before = tree(landing)
    assert take(landing, log) == first
    assert tree(landing) == {**before, "ingested.json": tree(landing)["ingested.json"]}
    assert tree(landing)["ingested.json"][0] == before["ingested.json"][0]
    other = tmp_path / "elsewhere"
    take(other, log)
    digests = [{name: entry[0] for name, entry in tree(root).items()} for root in (landing, other)]
    assert digests[0] == digests[1]


def test_the_result_does_not_depend_on_batches_or_spills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = many(tmp_path / "log.parquet", 4_000)
    take(tmp_path / "whole", log)
    monkeypatch.setattr(sources, "BATCH_ROWS", 97)
    monkeypatch.setattr(spill, "SPILL_ROWS", 500)
    take(tmp_path / "pieces", log)
    assert {k: v[0] for k, v in tree(tmp_path / "whole").items()} == {
        k: v[0] for k, v in tree(tmp_path / "pieces").items()
    }


def test_row_numbers_hold_across_csv_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(charsets, "READ_BYTES", 400)
    lines = [
        f"u{n},i,{DAY + n}" if n % 10 else (f"broken{n}" if n % 20 else f",i,{DAY}")
        for n in range(1, 301)
    ]
    log = write_csv(tmp_path / "log.csv", "user_id,item_id,timestamp", *lines)
    report = take(tmp_path / "landing", log)
    kept = pl.read_parquet(
        tmp_path / f"landing/quarantine/interactions/{report['sources'][0]['digest']}.parquet"
    )
    assert sorted(kept["source_row"]) == list(range(10, 301, 10))
    assert kept.filter(pl.col("source_row") % 20 != 0)["reason"].unique().to_list() == [
        "malformed line"
    ]
    assert report["sources"][0]["rows_read"] == 300


def test_a_second_log_adds_days_and_its_overlap_is_counted(tmp_path: Path):
    landing = tmp_path / "landing"
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    write_csv(first, "user_id,item_id,timestamp", f"u,i,{DAY}", f"u,j,{DAY + 1}")
    write_csv(second, "user_id,item_id,timestamp", f"u,j,{DAY + 1}", f"v,k,{DAY + 86_400}")
    take(landing, first)
    before = {name: entry[0] for name, entry in tree(landing).items()}
    report = take(landing, second)
    assert report["sources"][1]["rejected"] == {"duplicate event": 1}
    assert report["days"] == {"2026-01-01": 2, "2026-01-02": 1}
    assert landed(landing).height == 3
    assert {name: entry[0] for name, entry in tree(landing).items()}.items() >= {
        name: digest for name, digest in before.items() if name.startswith("interactions")
    }.items()
    assert set(pl.read_parquet(landing / "users/users.parquet")["user_id"]) == {"u", "v"}


def test_the_same_log_with_other_options_needs_replace(tmp_path: Path):
    log = write_csv(tmp_path / "log.csv", "a,b,t", f"x,y,{DAY}")
    take(tmp_path / "landing", log, mapping={"user_id": "a", "item_id": "b", "timestamp": "t"})
    swapped = {"user_id": "b", "item_id": "a", "timestamp": "t"}
    with pytest.raises(IngestError, match="ingested before with other options"):
        take(tmp_path / "landing", log, mapping=swapped)
    take(tmp_path / "landing", log, mapping=swapped, replace=True)
    assert landed(tmp_path / "landing").select("user_id", "item_id").rows() == [("y", "x")]


def test_folders_and_globs(tmp_path: Path):
    (tmp_path / "logs/sub/_temporary").mkdir(parents=True)
    for name in ("a.parquet", "sub/b.parquet", "sub/_temporary/c.parquet"):
        many(tmp_path / "logs" / name, 10)
    (tmp_path / "logs/_SUCCESS").touch()
    assert [p.name for p in find_files([tmp_path / "logs"])] == ["a.parquet", "b.parquet"]
    assert [
        p.name for p in find_files([f"{tmp_path}/logs/*.parquet", tmp_path / "logs/a.parquet"])
    ] == ["a.parquet"]
    with pytest.raises(IngestError, match="no such file, or a folder or glob without a file"):
        find_files([tmp_path / "nothing"])
    (tmp_path / "x.docx").touch()
    with pytest.raises(IngestError, match=r"must end in \.parquet"):
        find_files([tmp_path / "x.docx"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no file has a header or a column"),
        ("user_id,item_id,timestamp\n", "it has no rows"),
        (
            "user_id,item_id,timestamp\n,i,5\n",
            r"user_id is null or empty: 1\); nothing was changed",
        ),
        ("user_id,user_id,timestamp\n", "'user_id' occurs more than once"),
        (
            "visitor,item_id,timestamp\n",
            r"no column 'user_id'.*--map user_id=<column>; its columns are 'visitor', 'item_id', "
            r"'timestamp'",
        ),
    ],
)
def test_bad_logs_say_so_and_leave_nothing(tmp_path: Path, content: str, message: str):
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(IngestError, match=message):
        take(tmp_path / "landing", tmp_path / "log.csv")
    assert not (tmp_path / "landing").exists() or tree(tmp_path / "landing") == {}


def test_bad_parquet_and_mappings_say_so(tmp_path: Path):
    whole = many(tmp_path / "whole.parquet", 50).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    with pytest.raises(IngestError, match=r"cut.parquet is not a readable Parquet file"):
        take(tmp_path / "landing", tmp_path / "cut.parquet")
    with pytest.raises(
        IngestError,
        match=r"--map item_id=sku: .* has no column 'sku'; its columns are 'user_id', 'item_id', "
        r"'timestamp'",
    ):
        take(tmp_path / "landing", tmp_path / "whole.parquet", mapping={"item_id": "sku"})
    with pytest.raises(
        IngestError,
        match="--map color=x: there is no column 'color' to fill; choose one of event_id, user_id",
    ):
        take(tmp_path / "landing", tmp_path / "whole.parquet", mapping={"color": "x"})
    pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": [[1]]}).write_parquet(
        tmp_path / "list.parquet"
    )
    with pytest.raises(IngestError, match=r"column 'timestamp' is List.*which is no time"):
        take(tmp_path / "landing", tmp_path / "list.parquet")


def test_an_empty_file_among_others_is_named(tmp_path: Path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/a.csv").write_text("")
    write_csv(tmp_path / "logs/b.csv", "user_id,item_id,timestamp", f"u,i,{DAY}")
    pl.DataFrame(
        schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    ).write_parquet(tmp_path / "logs/c.parquet")
    report = take(tmp_path / "landing", tmp_path / "logs")
    assert report["sources"][0]["empty_files"] == [str(tmp_path / "logs/a.csv")]
    assert report["sources"][0]["accepted"] == 1


def test_the_calendar_follows_the_log_or_refuses(tmp_path: Path):
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp",
        "u,i,1995-05-05",
        f"u,i,{DAY}",
        f"u,i,{DAY + 2 * 86_400}",
    )
    with pytest.raises(
        IngestError,
        match=r"begins on 1995-05-05, and RECSYS_START_DAY is 2026-01-01.*--first-day "
        r"2026-01-01",
    ):
        take(tmp_path / "landing", log, start_day=date(2026, 1, 1))
    assert tree(tmp_path / "landing") == {}
    report = take(tmp_path / "landing", log, start_day=date(2026, 1, 1), first_day_start=DAY)
    assert report["sources"][0]["rejected"] == {"timestamp is before --first-day": 1}
    assert report["calendar"]["start_day"] == "2026-01-01"
    assert report["calendar"]["missing_days"] == ["2026-01-02"]
    assert report["calendar"]["as_of"] == "2026-01-03"
    assert "1 of 3 days have no rows: 2026-01-02" in report["calendar"]["notes"][0]


def test_a_simulated_shop_gives_way_only_when_told(tmp_path: Path):
    landing = tmp_path / "landing"
    shop.simulate(landing, shop.Scale("mini", 20, 25, 30), ["2026-01-01"], 7)
    visitor = landing / "interactions/2026-01-01/events-1-0.parquet"
    pl.read_parquet(landing / "interactions/2026-01-01/simulated.parquet").head(1).write_parquet(
        visitor
    )
    answers = landing / "served/2026-01-01/served-1-0.parquet"
    answers.parent.mkdir(parents=True)
    answers.write_bytes(b"of the old shop")
    log = write_csv(tmp_path / "log.csv", "user_id,item_id,timestamp", f"u,i,{DAY + 86_400}")
    before = tree(landing)
    with pytest.raises(IngestError, match=r"simulated shop.*--replace"):
        take(landing, log)
    assert tree(landing) == before
    take(landing, log, replace=True)
    assert [p.name for p in (landing / "interactions").iterdir()] == ["2026-01-02"]
    assert not (landing / "simulation.json").exists() and not (landing / "truth").exists()
    assert len(list((landing / "superseded").rglob("events-1-0.parquet"))) == 1
    assert len(list((landing / "superseded").rglob("served-1-0.parquet"))) == 1
    assert not answers.exists()
    assert set(landed(landing)["user_id"]) == {"u"}


def test_a_replacement_that_died_is_refused_until_it_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    landing, log = tmp_path / "landing", many(tmp_path / "log.parquet", 100)
    take(landing, log)
    expected = {name: entry[0] for name, entry in tree(landing).items()}

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_json", die)
        with pytest.raises(KeyboardInterrupt):
            take(landing, log, replace=True)
    with pytest.raises(IngestError, match="--replace"):
        take(landing, log)
    take(landing, log, replace=True)
    assert {name: entry[0] for name, entry in tree(landing).items()} == expected
    assert list(landing.glob(".ingest-*/")) == []


def test_two_at_once_is_refused(tmp_path: Path):
    landing = tmp_path / "landing"
    log = write_csv(tmp_path / "log.csv", "user_id,item_id,timestamp", f"u,i,{DAY}")
    with (
        publish.staging_folder(landing_folder(landing)),
        pytest.raises(IngestError, match="another `recsys ingest`"),
    ):
        take(landing, log)
    take(landing, log)


def landing_folder(landing: Path) -> Path:
    landing.mkdir()
    return landing


def test_nothing_is_simulated_into_an_ingested_landing_zone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = Settings(home=tmp_path, scale="tiny")
    take(tmp_path / "landing", many(tmp_path / "log.parquet", 100))
    before = tree(tmp_path / "landing")
    full_graph.simulate(settings)
    assert tree(tmp_path / "landing") == before
    assert "was ingested (recsys ingest), so it is not simulated" in capsys.readouterr().err


def test_the_report_is_what_the_landing_zone_keeps(tmp_path: Path):
    report = take(tmp_path / "landing", many(tmp_path / "log.parquet", 1_000))
    assert json.loads((tmp_path / "landing/ingested.json").read_text()) == report
    assert sum(report["days"].values()) == landed(tmp_path / "landing").height
    assert report["users"] == {"rows": 97, "derived": 97} and report["items"] == {
        "rows": 31,
        "derived": 31,
    }
    assert [one.split(":")[0] for one in report["left_out"]] == [
        "no catalogue",
        "no pictures",
        "no users' table",
    ]
