"""Cases of text files: delimiters, encodings, headers and damaged lines."""

from __future__ import annotations

from pathlib import Path

from recsys_assets.bench.files.case import FileCase, Reading, Refusal, events, log_text, named, text

_TWO = (("u1", "i1", "2026-01-05T10:00:00"), ("u2", "i2", "2026-01-05T11:30:00"))
_ROWS = ("u1,i1,2026-01-05 10:00:00", "u2,i2,2026-01-05 11:30:00")
_NAMES = {"columns": ("user_id", "item_id", "timestamp")}


def _split(delimiter: str) -> tuple[str, ...]:
    return tuple(row.replace(",", delimiter) for row in ("user_id,item_id,timestamp", *_ROWS))


def _one_line(path: Path) -> None:
    """Write a header and 1 GB of one line."""
    block = b"a" * (16 << 20)
    with path.open("wb") as file:
        file.write(b"user_id,item_id,timestamp\n")
        for _ in range(64):
            file.write(block)


DELIMITERS = (
    FileCase("comma", "CSV", {"a.csv": log_text(*_ROWS)}, events(*_TWO)),
    FileCase("semicolon", "semicolons", {"a.csv": text(*_split(";"))}, events(*_TWO)),
    FileCase("tab", "TSV", {"a.tsv": text(*_split("\t"))}, events(*_TWO)),
    FileCase("pipe", "pipes", {"a.csv": text(*_split("|"))}, events(*_TWO)),
    FileCase("txt", "tabs in a .txt file", {"a.txt": text(*_split("\t"))}, events(*_TWO)),
    FileCase(
        "sep_line",
        "a line sep=; before the header",
        {"a.csv": text("sep=;", *_split(";"))},
        events(*_TWO),
    ),
    FileCase(
        "delimiter_in_header_name",
        "a header name with other delimiters",
        {"a.csv": text("user_id;item_id;timestamp;a,b,c,d,e", "u1;i1;2026-01-05 10:00:00;x")},
        events(_TWO[0]),
    ),
    FileCase(
        "decimal_commas_beside_semicolons",
        "as many commas in the values as semicolons",
        {"a.csv": text("item_id;price", "a;1,50", "b;2,25")},
        Reading(("item_id", "price"), (("a", 1.5), ("b", 2.25))),
        "items",
    ),
    FileCase("crlf", "Windows line ends", {"a.csv": log_text(*_ROWS, end="\r\n")}, events(*_TWO)),
    FileCase("cr", "old Mac line ends", {"a.csv": log_text(*_ROWS, end="\r")}, events(*_TWO)),
    FileCase(
        "blank_lines",
        "blank lines, none at the end",
        {"a.csv": b"\n" + log_text(_ROWS[0], "", _ROWS[1]).rstrip(b"\n")},
        events(*_TWO),
    ),
    FileCase(
        "padded",
        "blanks after each comma, also in the header",
        {"a.csv": text("user_id, item_id, timestamp", "u1, i1, 2026-01-05 10:00:00")},
        events(_TWO[0]),
    ),
    FileCase(
        "trailing_delimiter",
        "a delimiter at the end of every line",
        {"a.csv": text(*(row + "," for row in ("user_id,item_id,timestamp", *_ROWS)))},
        events(*_TWO),
    ),
    FileCase(
        "trailing_delimiters_unnamed",
        "two unnamed columns",
        {"a.csv": text("user_id,item_id,timestamp,,", *(row + ",x,y" for row in _ROWS))},
        events(*_TWO),
    ),
)

ENCODINGS = (
    FileCase(
        "bom", "UTF-8 with a BOM", {"a.csv": log_text(*_ROWS, encoding="utf-8-sig")}, events(*_TWO)
    ),
    FileCase(
        "utf16",
        "UTF-16 with a BOM and tabs, as Excel's Unicode text",
        {"a.txt": text(*_split("\t"), end="\r\n", encoding="utf-16")},
        events(*_TWO),
    ),
    FileCase(
        "utf16_big_endian",
        "UTF-16, big endian",
        {"a.csv": b"\xfe\xff" + log_text(*_ROWS, encoding="utf-16-be")},
        events(*_TWO),
    ),
    FileCase(
        "utf16_without_bom",
        "UTF-16 without a BOM",
        {"a.csv": log_text(*_ROWS, encoding="utf-16-le")},
        events(*_TWO),
    ),
    FileCase(
        "latin1",
        "Latin-1",
        {
            "a.csv": text(
                "item_id,name", "1,Café", "2,Crème brûlée", "3,Gläser für Säfte", encoding="latin-1"
            )
        },
        named(
            ("1", "Café"), ("2", "Crème brûlée"), ("3", "Gläser für Säfte"), says=("--encoding",)
        ),
        "items",
    ),
    FileCase(
        "windows1252",
        "Windows-1252 with euro sign and curly quotes",
        {
            "a.csv": text(
                "item_id,name,price", "1,“Große” Bürste – für Möbel,€ 5.50", encoding="cp1252"
            )
        },
        Reading(("item_id", "name", "price"), (("1", "“Große” Bürste – für Möbel", 5.5),)),
        "items",
    ),
    FileCase(
        "windows1251",
        "Cyrillic in Windows-1251",
        {
            "a.csv": text(
                "item_id,name",
                "1,Красная футболка с длинным рукавом",
                "2,Синие джинсы для мальчиков",
                "3,Кожаная сумка через плечо",
                encoding="cp1251",
            )
        },
        named(
            ("1", "Красная футболка с длинным рукавом"),
            ("2", "Синие джинсы для мальчиков"),
            ("3", "Кожаная сумка через плечо"),
        ),
        "items",
    ),
    FileCase(
        "shift_jis",
        "Japanese in Shift-JIS",
        {
            "a.csv": text(
                "item_id,name",
                "1,赤い長袖のシャツ",
                "2,子供用の青いジーンズ",
                "3,革のショルダーバッグ",
                encoding="cp932",
            )
        },
        named(
            ("1", "赤い長袖のシャツ"), ("2", "子供用の青いジーンズ"), ("3", "革のショルダーバッグ")
        ),
        "items",
    ),
    FileCase(
        "few_umlauts",
        "two words with umlauts",
        {
            "a.csv": text(
                "item_id;name;price",
                "1;Schöne Vase;1.299,00 €",
                "2;Größe L;9,99 €",
                encoding="cp1252",
            )
        },
        Reading(("name", "price"), (("Schöne Vase", 1299.0), ("Größe L", 9.99))),
        "items",
    ),
    FileCase(
        "encoding_given",
        "Windows-1250, named by an option",
        {"a.csv": text("item_id,name", "1,Żółty", encoding="cp1250")},
        named(("1", "Żółty")),
        "items",
        {"encoding": "cp1250"},
    ),
    FileCase(
        "one_line_of_another_encoding",
        "UTF-8 with one line of Latin-1",
        {
            "a.csv": text("item_id,name", "1,Café", "2,Bücher")
            + "3,Möbel\n".encode("latin-1")
            + text("4,Gläser")
        },
        named(("1", "Café"), ("2", "Bücher"), ("4", "Gläser"), rejected=1),
        "items",
    ),
    FileCase(
        "late_latin1",
        "ASCII for 9 MB, then Latin-1",
        {
            "a.csv": text("item_id,name", *(f"{n},{'plain ' * 15}" for n in range(100_000)))
            + text("x,Café crème et thé glacé", encoding="latin-1")
        },
        Reading(
            ("item_id", "name"),
            (("99999", "plain " * 15), ("x", "Café crème et thé glacé")),
            places=(99_999, 100_000),
        ),
        "items",
    ),
)

DAMAGE = (
    FileCase(
        "ragged_quoted",
        "a row with a field too few, and a comma in quotes",
        {"a.csv": text("item_id,name,price", '1,"Big, red"', '2,"Small, red",20')},
        named(("2", "Small, red"), rejected=1),
        "items",
    ),
    FileCase(
        "ragged",
        "rows with a field too few and too many",
        {"a.csv": log_text(_ROWS[0], "u3,i3", "u4,i4,2026-01-05 12:00:00,x", _ROWS[1])},
        events(*_TWO, rejected=2),
    ),
    FileCase(
        "one_line_of_1_gb",
        "1 GB without a line end",
        {"a.csv": _one_line},
        Refusal(("longer than", "line 2")),
    ),
    FileCase("empty", "an empty file", {"a.csv": b""}, Refusal(("header",))),
    FileCase("header_alone", "a header without rows", {"a.csv": log_text()}, Refusal(("no rows",))),
    FileCase(
        "zeros",
        "only NUL bytes, as after a crash",
        {"a.csv": b"\0" * 4_096},
        Refusal(("export it again",)),
    ),
    FileCase(
        "no_header",
        "no header, and no word of it",
        {"a.csv": text(*_ROWS)},
        Refusal(("no header", "--columns")),
    ),
    FileCase(
        "columns_given",
        "no header; the columns are named",
        {"a.csv": text(*_ROWS)},
        events(*_TWO),
        options=_NAMES,
    ),
    FileCase(
        "columns_given_beside_a_header",
        "a header, and columns named all the same",
        {"a.csv": log_text(*_ROWS)},
        Refusal(("--columns", "header")),
        options=_NAMES,
    ),
    FileCase(
        "header_of_another_case",
        "User ID, ItemId and TIMESTAMP",
        {"a.csv": text("User ID,ItemId,TIMESTAMP", *_ROWS)},
        events(*_TWO),
    ),
    FileCase(
        "other_header",
        "columns of other names",
        {"a.csv": text("ts,visitorid,action,sku", "1767607200,u1,view,i1")},
        Refusal(("--map user_id=visitorid", "--map item_id=sku", "--map timestamp=ts")),
    ),
    FileCase(
        "title_above_the_header",
        "a title and a blank line before the header",
        {"a.csv": text("Export of 5 January 2026", "", "user_id,item_id,timestamp", *_ROWS)},
        Refusal(("line 1", "remove")),
    ),
    FileCase(
        "same_column_twice",
        "two columns of the same name",
        {"a.csv": text("user_id,item_id,item_id,timestamp", "u1,i1,i9,2026-01-05 10:00:00")},
        Refusal(("occurs more than once", "rename")),
    ),
    FileCase(
        "total_row",
        "a last row with the number of rows",
        {"a.csv": log_text(*_ROWS, "2 rows,,")},
        events(*_TWO, rejected=1),
    ),
    FileCase(
        "json_lines",
        "one JSON object per line",
        {"a.jsonl": text('{"user_id": "u1", "item_id": "i1"}')},
        Refusal((".jsonl", "convert")),
    ),
    FileCase(
        "json_named_csv",
        "JSON in a file named .csv",
        {"a.csv": text('[{"user_id": "u1", "item_id": "i1", "timestamp": 1}]')},
        Refusal(("JSON",)),
    ),
    FileCase(
        "html_named_csv",
        "a web page saved as .csv",
        {"a.csv": text("<!DOCTYPE html>", "<html><body>Log in</body></html>")},
        Refusal(("HTML",)),
    ),
)

CASES = (*DELIMITERS, *ENCODINGS, *DAMAGE)
