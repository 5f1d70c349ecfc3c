"""Test the ingest of catalogue, pictures and users, and of logs compared with them."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from recsys_assets.columns import RAW_ITEMS, RAW_USERS
from recsys_assets.lib.landing.quarantine import quarantine_counts
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.bring import Request, ingest
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.lib.quality import contracts
from recsys_assets.lib.raw import raw_tables
from recsys_assets.settings import PROJECT_ROOT

DAY = 1_767_225_600
NOW = DAY + 30 * 86_400
REAL = PROJECT_ROOT.parent / "shared/data/retail-demo-store/products.yaml"
YAML = """\
- {id: b1, name: Bag, description: A bag., category: accessories, style: bag, price: 10, image: one.png}
- {id: 9007199254740993, name: Axe, description: An axe., category: tools, style: axe, price: 30.5}
"""


def take(landing: Path, **request: object) -> dict:
    return ingest(landing, Request(**request), now=NOW, start_day=None)


def items_of(landing: Path) -> pl.DataFrame:
    contracts.check_table(landing / "catalogue/items.parquet", RAW_ITEMS).raise_if_failed()
    return pl.read_parquet(landing / "catalogue/items.parquet")


def users_of(landing: Path) -> pl.DataFrame:
    contracts.check_table(landing / "users/users.parquet", RAW_USERS).raise_if_failed()
    return pl.read_parquet(landing / "users/users.parquet")


def log_of(path: Path, *rows: tuple[str, str]) -> str:
    lines = [
        "user_id,item_id,timestamp",
        *(f"{user},{item},{DAY + n}" for n, (user, item) in enumerate(rows)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def picture(colour: str, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.skipif(
    not REAL.exists(), reason="the Retail Demo Store's catalogue is not beside the repository"
)
def test_the_retail_demo_store_catalogue(tmp_path: Path):
    report = take(tmp_path / "landing", catalogue=REAL)
    items = items_of(tmp_path / "landing")
    assert items.height == report["items"]["rows"] == 2_465 and report["items"]["derived"] == 0
    assert items["category_l1"].n_unique() == 20
    assert (items["image"] == "").all() and report["pictures"] == 0
    assert report["calendar"] is None


def test_a_log_is_held_against_the_catalogue(tmp_path: Path):
    (tmp_path / "products.yaml").write_text(YAML)
    log = log_of(tmp_path / "log.csv", ("u", "b1"), ("u", "9007199254740993"), ("u", "gone"))
    report = take(tmp_path / "landing", logs=[log], catalogue=tmp_path / "products.yaml")
    assert report["sources"][1]["rejected"] == {"item is not in the catalogue": 1}
    assert items_of(tmp_path / "landing")["item_id"].to_list() == ["b1", "9007199254740993"]
    # with the item in the catalogue, the same log is read again and its rejected row is accepted
    (tmp_path / "products.yaml").write_text(
        YAML + "- {id: gone, name: G, description: g, category: tools, style: axe, price: 1}\n"
    )
    report = take(tmp_path / "landing", logs=[log], catalogue=tmp_path / "products.yaml")
    assert [(s["table"], s["accepted"]) for s in report["sources"]] == [
        ("items", 2),
        ("interactions", 3),
        ("items", 3),
    ]
    assert quarantine_counts(tmp_path / "landing") == {}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_catalogue_of_any_columns(tmp_path: Path, kind: str):
    products = pl.DataFrame(
        {
            "sku": ["001", "002", "003", "003", None, "004"],
            "titel": ["Bag", None, "Axe", "Axe", "Nothing", "Tea"],
            "category": ["bags", "", "tools", "tools", "x", "-1"],
            "preis": ["10", "free", "30", "30", "1", "-2"],
            "gender_affinity": ["Women", "any", None, None, None, "alien"],
            "promoted": ["true", "0", None, None, None, "1"],
        }
    )
    path = tmp_path / f"items.{kind}"
    products.write_csv(path) if kind == "csv" else products.write_parquet(path)
    report = take(
        tmp_path / "landing",
        catalogue=path,
        item_mapping={"item_id": "sku", "name": "titel", "price": "preis"},
    )
    items = items_of(tmp_path / "landing")
    assert items.select(
        "item_id", "name", "category_l1", "price", "item_gender", "promoted"
    ).rows() == [
        ("001", "Bag", "bags", 10.0, "F", True),
        ("002", "002", "unknown", None, "Any", False),
        ("003", "Axe", "tools", 30.0, "Any", False),
        ("004", "Tea", "unknown", None, "Any", True),
    ]
    source = report["sources"][0]
    assert source["rejected"] == {"item_id is null or empty": 1, "item_id occurs before": 1}
    assert quarantine_counts(tmp_path / "landing") == {"items": source["rejected"]}
    assert source["adjusted"] == {
        "price is not a number above 0: taken as unknown": 2,
        "category_l1 missing: 'unknown' taken": 2,
        "item_gender missing or not one of F, M, Any: 'Any' taken": 2,
    }
    kept = pl.read_parquet(tmp_path / f"landing/quarantine/items/{source['digest']}.parquet")
    assert set(kept["titel"]) == {"Nothing", "Axe"} and set(kept["source_row"]) == {4, 5}


def test_a_catalogue_of_ids_alone(tmp_path: Path):
    (tmp_path / "ids.csv").write_text("id\na\nb\n")
    report = take(tmp_path / "landing", catalogue=tmp_path / "ids.csv")
    assert items_of(tmp_path / "landing").select("name", "price", "category_l1").rows() == [
        ("a", None, "unknown"),
        ("b", None, "unknown"),
    ]
    assert report["sources"][0]["adjusted"] == {
        "category_l1 missing: 'unknown' taken": 2,
        "item_gender missing or not one of F, M, Any: 'Any' taken": 2,
    }
    assert report["items"] == {"rows": 2, "derived": 2}
    assert any("no name, text, picture or price" in said for said in report["left_out"])


def test_a_price_that_is_not_given_is_null_and_said(tmp_path: Path):
    log = log_of(tmp_path / "log.csv", ("u", "a"), ("u", "b"))
    report = take(tmp_path / "only-a-log", logs=[log])
    assert items_of(tmp_path / "only-a-log")["price"].to_list() == [None, None]
    assert report["items"] == {"rows": 2, "derived": 2}

    (tmp_path / "items.csv").write_text("item_id,name,price\na,A,5\nb,B,\nc,C,nan\nd,D,0\n")
    report = take(tmp_path / "some", catalogue=tmp_path / "items.csv")
    assert items_of(tmp_path / "some")["price"].to_list() == [5.0, None, None, None]
    adjusted = report["sources"][0]["adjusted"]
    assert adjusted["price is not a number above 0: taken as unknown"] == 1
    assert adjusted["fields with a word for no value (null, nan, …): taken as empty"] == 1
    assert any("3 of 4 items of the catalogue have no price" in said for said in report["left_out"])

    (tmp_path / "items.csv").write_text("item_id,name\na,A\nb,B\n")
    report = take(tmp_path / "none", catalogue=tmp_path / "items.csv")
    assert any("no item of the catalogue has one" in said for said in report["left_out"])
    read = raw_tables.landed_items(str(tmp_path / "none"))  # what the graph makes of it
    (tmp_path / "raw").mkdir()
    metrics = raw_tables.write_items(read, tmp_path / "raw")
    assert metrics["median_price"] is None and metrics["without_price"] == 2


def test_pictures_by_column_by_id_and_what_is_wrong_with_the_rest(tmp_path: Path):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "one.png").write_bytes(picture("red"))
    (folder / "sub/two.jpg").write_bytes(picture("blue", "JPEG"))
    (folder / "c.jpeg").write_bytes(picture("green", "JPEG"))
    (folder / "cut.png").write_bytes(picture("white")[:60])
    (folder / "page.png").write_bytes(b"<html>")
    (tmp_path / "secret.png").write_bytes(picture("black"))
    (tmp_path / "items.csv").write_text(
        "item_id,image\na,one.png\nb,sub/two.jpg\nc,\nd,cut.png\ne,../secret.png\nf,two.jpg\ng,page.png\n"
    )
    report = take(tmp_path / "landing", catalogue=tmp_path / "items.csv", images=folder)
    items = items_of(tmp_path / "landing")
    assert dict(items.select("item_id", "image").iter_rows()) == {
        "a": "one.png",
        "b": "sub/two.jpg",
        "c": "c.jpeg",
        "d": "",
        "e": "",
        "f": "sub/two.jpg",
        "g": "",
    }
    content = dict(
        pl.read_parquet(tmp_path / "landing/catalogue/images.parquet")
        .select("image", "content")
        .iter_rows()
    )
    assert content == {
        "one.png": picture("red"),
        "sub/two.jpg": picture("blue", "JPEG"),
        "c.jpeg": picture("green", "JPEG"),
    }
    entry = next(one for one in report["sources"] if one["table"] == "images")
    assert entry["unreadable"] == ["cut.png", "page.png"] and entry["items_without"] == 3
    assert report["pictures"] == 4
    read = raw_tables.landed_items(str(tmp_path / "landing"))  # what the graph makes of it
    assert read.images is not None and read.images.height == 3

    # the catalogue again, without the folder: its pictures stay
    (tmp_path / "items.csv").write_text("item_id,image\na,one.png\nc,\nnew,\n")
    assert take(tmp_path / "landing", catalogue=tmp_path / "items.csv")["pictures"] == 4


def test_an_image_folder_without_pictures(tmp_path: Path):
    (tmp_path / "ids.csv").write_text("id\na\n")
    with pytest.raises(IngestError, match=r"none of its files ends in \.png"):
        take(tmp_path / "landing", catalogue=tmp_path / "ids.csv", images=tmp_path / "nowhere")
    with pytest.raises(IngestError, match="--images needs --catalogue"):
        Request(images=tmp_path, users=tmp_path)
    with pytest.raises(IngestError, match="nothing to ingest"):
        Request()


def test_users_with_and_without_attributes(tmp_path: Path):
    (tmp_path / "users.csv").write_text(
        "id,years,sex\n007,30,female\n8,200,M\n9,thirty,\n8,31,F\n,5,M\n10,40.0,diverse\n"
    )
    log = log_of(tmp_path / "log.csv", ("007", "a"), ("visitor", "a"))
    report = take(
        tmp_path / "landing",
        logs=[log],
        users=tmp_path / "users.csv",
        user_mapping={"user_id": "id", "age": "years", "gender": "sex"},
    )
    assert users_of(tmp_path / "landing").rows() == [
        ("007", 30, "F"),
        ("8", None, "M"),
        ("9", None, "-1"),
        ("10", 40, "-1"),
        ("visitor", None, "-1"),
    ]
    source = next(one for one in report["sources"] if one["table"] == "users")
    assert source["rejected"] == {"user_id is null or empty": 1, "user_id occurs before": 1}
    assert source["adjusted"] == {
        "age is not a number of 0 to 120: taken as unknown": 2,
        "gender is not F or M: taken as unknown": 1,
    }


def test_a_later_catalogue_updates_and_never_loses_a_logged_item(tmp_path: Path):
    landing = tmp_path / "landing"
    take(landing, logs=[log_of(tmp_path / "log.csv", ("u", "a"), ("u", "b"))])
    (tmp_path / "items.csv").write_text("item_id,name,price\nb,Better,5\nc,New,6\n")
    report = take(landing, catalogue=tmp_path / "items.csv")
    assert items_of(landing).select("item_id", "name", "price").rows() == [
        ("b", "Better", 5.0),
        ("c", "New", 6.0),
        ("a", "a", None),
    ]
    assert report["items"] == {"rows": 3, "derived": 1}
    before = {p: p.read_bytes() for p in landing.rglob("*.parquet")}
    take(landing, catalogue=tmp_path / "items.csv")
    assert {p: p.read_bytes() for p in landing.rglob("*.parquet")} == before


def test_tables_that_cannot_be_read_say_why(tmp_path: Path):
    (tmp_path / "items.csv").write_text("name,price\na,1\n")
    with pytest.raises(
        IngestError,
        match=r"no column 'item_id'.*--item-map item_id=<column>; its columns are 'name', 'price'",
    ):
        take(tmp_path / "landing", catalogue=tmp_path / "items.csv")
    (tmp_path / "p.yaml").write_text("- {id: a, name: A}\n")
    with pytest.raises(IngestError, match="field 'description' is missing"):
        take(tmp_path / "landing", catalogue=tmp_path / "p.yaml")
    with pytest.raises(IngestError, match="--item-map is for CSV and Parquet"):
        take(tmp_path / "landing", catalogue=tmp_path / "p.yaml", item_mapping={"item_id": "id"})
    (tmp_path / "users.csv").write_text("user_id\n")
    with pytest.raises(IngestError, match="no row can be taken"):
        take(tmp_path / "landing", users=tmp_path / "users.csv")
    with pytest.raises(IngestError, match="--map needs a log"):
        Request(users=tmp_path / "users.csv", rules=LogRules({"user_id": "x"}))
