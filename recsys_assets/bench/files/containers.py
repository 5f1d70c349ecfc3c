"""Cases of containers: compressed files, archives, workbooks and folders of pictures."""

from __future__ import annotations

from recsys_assets.bench.files.case import (
    ExcelTime,
    FileCase,
    Reading,
    Refusal,
    events,
    gzipped,
    log_text,
    parquet,
    picture,
    priced,
    text,
    workbook,
    zipped,
)

_IMAGED = text("item_id,name,image", "1,Bag,bag.jpg", "2,Shoe,shoe.png", "3,Hat,", "4,Belt,")
_ROWS = ("u1,i1,2026-01-05 10:00:00", "u2,i2,2026-01-05 11:30:00")
_TWO = (("u1", "i1", "2026-01-05T10:00:00"), ("u2", "i2", "2026-01-05T11:30:00"))
_SHEET = (
    ("user_id", "item_id", "timestamp"),
    ("u1", "i1", "2026-01-05 10:00:00"),
    ("u2", "i2", "2026-01-05 11:30:00"),
)

CONTAINERS = (
    FileCase("gzip", "CSV in gzip", {"a.csv.gz": gzipped(log_text(*_ROWS))}, events(*_TWO)),
    FileCase(
        "gzip_named_csv",
        "gzip in a file named .csv",
        {"a.csv": gzipped(log_text(*_ROWS))},
        events(*_TWO),
    ),
    FileCase(
        "two_gzip_members",
        "two gzip files, one after the other",
        {"a.csv.gz": gzipped(log_text(_ROWS[0])) + gzipped(text(_ROWS[1]))},
        events(*_TWO),
    ),
    FileCase(
        "cut_gzip",
        "gzip, cut off",
        {
            "a.csv.gz": gzipped(
                log_text(*(f"u{n},i{n * 7919 % 1000},1767607200" for n in range(5_000)))
            )[:-600]
        },
        Refusal(("cut off", "again")),
    ),
    FileCase(
        "zip",
        "a ZIP archive",
        {"a.zip": zipped({"a.csv": log_text(*_ROWS)})},
        Refusal(("ZIP", "unpack")),
    ),
    FileCase(
        "zip_named_csv",
        "a ZIP archive named .csv",
        {"a.csv": zipped({"a.csv": log_text(*_ROWS)})},
        Refusal(("ZIP", "unpack")),
    ),
    FileCase(
        "folder_of_csv",
        "a folder with two files and a note",
        {"f/a.csv": log_text(_ROWS[0]), "f/b.csv": log_text(_ROWS[1]), "f/README.md": b"#"},
        events(*_TWO),
        source="f",
    ),
    FileCase(
        "cut_parquet",
        "Parquet, cut off",
        {"a.parquet": parquet({"user_id": ["u"], "item_id": ["i"], "timestamp": [1]})[:-9]},
        Refusal(("not a readable Parquet file", "again")),
    ),
    FileCase("excel", "an Excel workbook", {"a.xlsx": workbook(log=_SHEET)}, events(*_TWO)),
    FileCase(
        "excel_numbers",
        "numbers as ids, a date cell, an empty cell",
        {
            "a.xlsx": workbook(
                log=(
                    ("user_id", "item_id", "timestamp"),
                    (7, 4006381333931, ExcelTime(46027.4166666667)),
                    (None, 12, ExcelTime(46027.5)),
                )
            )
        },
        events(("7", "4006381333931", "2026-01-05T10:00:00"), rejected=1),
    ),
    FileCase(
        "excel_long_ids",
        "an id of 18 digits in a number cell",
        {
            "a.xlsx": workbook(
                log=(
                    ("user_id", "item_id", "timestamp"),
                    ("u", 9.00719925474099e17, ExcelTime(46027.5)),
                )
            )
        },
        Refusal(("item_id", "15 digits", "as text")),
    ),
    FileCase(
        "excel_prices",
        "number cells and text cells as prices",
        {
            "a.xlsx": workbook(
                items=(("item_id", "price"), ("a", 1234.5), ("b", "7,25 €"), ("c", 1.125))
            )
        },
        priced(("a", 1234.5), ("b", 7.25), ("c", 1.125)),
        "items",
    ),
    FileCase(
        "excel_two_sheets",
        "two sheets with rows",
        {"a.xlsx": workbook(january=_SHEET, february=_SHEET)},
        Refusal(("january", "february", "sheet")),
    ),
    FileCase(
        "excel_empty_sheet_first",
        "an empty sheet, then the log",
        {"a.xlsx": workbook(notes=(), log=_SHEET)},
        events(*_TWO),
    ),
    FileCase(
        "excel_named_csv",
        "an Excel workbook named .csv",
        {"a.csv": workbook(log=_SHEET)},
        Refusal(("Excel", ".xlsx")),
    ),
    FileCase(
        "html_named_xls",
        "a web page named .xls, as shop systems export it",
        {"a.xls": text("<html><table><tr><td>user_id</td></tr></table></html>")},
        Refusal(("HTML", "CSV")),
    ),
)

_PNG, _JPEG = picture("PNG"), picture("JPEG")
_HAS = ("item_id", "image")

PICTURES = (
    FileCase(
        "pictures_of_another_case",
        "bag.jpg is BAG.JPG",
        {"a.csv": _IMAGED, "p/BAG.JPG": _JPEG, "p/Shoe.PNG": _PNG, "p/3.Png": _PNG},
        Reading(_HAS, (("1", "BAG.JPG"), ("2", "Shoe.PNG"), ("3", "3.Png"), ("4", ""))),
        "items",
        {"images": "p"},
    ),
    FileCase(
        "pictures_of_another_extension",
        "bag.jpg is bag.jpeg; webp and gif",
        {
            "a.csv": _IMAGED,
            "p/bag.jpeg": _JPEG,
            "p/shoe.webp": picture("WEBP"),
            "p/3.gif": picture("GIF", "P"),
        },
        Reading(_HAS, (("1", "bag.jpeg"), ("2", "shoe.webp"), ("3", "3.gif"), ("4", ""))),
        "items",
        {"images": "p"},
    ),
    FileCase(
        "pictures_cut_off",
        "a truncated picture, and text named .png",
        {
            "a.csv": _IMAGED,
            "p/bag.jpg": _JPEG[: len(_JPEG) // 2],
            "p/shoe.png": b"not found",
            "p/3.png": _PNG,
        },
        Reading(
            _HAS, (("1", ""), ("2", ""), ("3", "3.png"), ("4", "")), 2, ("bag.jpg", "shoe.png")
        ),
        "items",
        {"images": "p"},
    ),
    FileCase(
        "pictures_by_address",
        "the image column has web addresses",
        {
            "a.csv": text("item_id,image", "1,https://shop.example/p/bag.jpg?v=2"),
            "p/bag.jpg": _JPEG,
        },
        Reading(_HAS, (("1", "bag.jpg"),)),
        "items",
        {"images": "p"},
    ),
    FileCase(
        "pictures_of_one_name",
        "one name in two folders: no picture, and both are named",
        {
            "a.csv": text("item_id,image", "1,main.jpg", "2,b/main.jpg"),
            "p/a/main.jpg": _JPEG,
            "p/b/main.jpg": _JPEG,
        },
        Reading(_HAS, (("1", ""), ("2", "b/main.jpg")), 0, ("a/main.jpg",)),
        "items",
        {"images": "p"},
    ),
    FileCase(
        "pictures_of_another_kind",
        "a JPEG named .png",
        {"a.csv": _IMAGED, "p/bag.png": _JPEG},
        Reading(_HAS, (("1", "bag.png"), ("2", ""), ("3", ""), ("4", ""))),
        "items",
        {"images": "p"},
    ),
    FileCase(
        "pictures_in_a_zip",
        "a ZIP archive in place of the folder",
        {"a.csv": _IMAGED, "p.zip": zipped({"bag.jpg": _JPEG})},
        Refusal(("--images", "unpack")),
        "items",
        {"images": "p.zip"},
    ),
)

CASES = (*CONTAINERS, *PICTURES)
