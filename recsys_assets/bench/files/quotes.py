"""Cases of quotes: sound ones, stray ones, and those that nobody can tell."""

from __future__ import annotations

from recsys_assets.bench.files.case import FileCase, Reading, named, text

CASES = (
    FileCase(
        "quoted",
        "quoted fields with commas, quotes and line ends",
        {
            "a.csv": text(
                "item_id,name,description",
                '1,"Shoe, red","He said ""good"""',
                '2,"Bag","first line\nsecond, line"',
            )
        },
        Reading(
            ("item_id", "name", "description"),
            (("1", "Shoe, red", 'He said "good"'), ("2", "Bag", "first line\nsecond, line")),
        ),
        "items",
    ),
    FileCase(
        "lines_in_the_last_field",
        "a description whose lines have as many commas as a row",
        {
            "a.csv": text(
                "item_id,price,description", '1,5,"A shoe:\nred, blue, green\n\nnice"', "2,6,plain"
            )
        },
        Reading(
            ("item_id", "price", "description"),
            (("1", 5.0, "A shoe:\nred, blue, green\n\nnice"), ("2", 6.0, "plain")),
        ),
        "items",
    ),
    FileCase(
        "stray_quotes_inside",
        "inches, in a TSV",
        {"a.tsv": text("item_id\tname", '1\t5" pipe', '2\tpipe 6"', "3\tplain")},
        named(("1", '5" pipe'), ("2", 'pipe 6"'), ("3", "plain")),
        "items",
    ),
    FileCase(
        "stray_quote_opens",
        "a field that begins with a quote and never ends it",
        {"a.tsv": text("item_id\tname\tprice", '1\t"Big shoe\t10', "2\tSmall\t20", "3\tBag\t30")},
        named(("1", '"Big shoe'), ("2", "Small"), ("3", "Bag"), says=("stray quotes",)),
        "items",
    ),
    FileCase(
        "stray_quotes_in_two_rows",
        "quotes that open in one row and close in the next, in the last column of a TSV",
        {"a.tsv": text("item_id\tprice\tname", '1\t10\t"Big', '2\t20\tSmall"', "3\t30\tBag")},
        named(("1", '"Big'), ("2", 'Small"'), ("3", "Bag")),
        "items",
    ),
    FileCase(
        "stray_quotes_or_two_lines",
        "the same in a CSV, where it may also be one row: nobody can tell, so it is rejected",
        {"a.csv": text("item_id,price,name", '1,10,"Big', '2,20,Small 5"', "3,30,Bag")},
        named(("3", "Bag"), rejected=2),
        "items",
    ),
    FileCase(
        "closed_quote_and_more",
        "a word in quotes at the begin of a field",
        {"a.csv": text("item_id,name,price", '1,"Big" shoe,10', "2,Bag,20")},
        named(("1", '"Big" shoe'), ("2", "Bag")),
        "items",
    ),
    FileCase(
        "blank_before_quote",
        "blanks between comma and quote",
        {"a.csv": text('"item_id", "name", "price"', '"1", "Shoe, red", "10"')},
        named(("1", "Shoe, red")),
        "items",
    ),
    FileCase(
        "backslash_quotes",
        "quotes escaped by a backslash, as MySQL writes them",
        {
            "a.csv": text(
                '"item_id","name","price"', r'"1","5\" pipe, steel","10"', r'"2","Bag","20"'
            )
        },
        named(("1", '5" pipe, steel'), ("2", "Bag")),
        "items",
    ),
    FileCase(
        "single_unclosed_quote_at_the_end",
        "the last row opens a quote",
        {"a.csv": text("item_id,name,price", "1,Bag,20", '2,"Shoe,10')},
        named(("1", "Bag"), ("2", '"Shoe')),
        "items",
    ),
    FileCase(
        "excel_text_formulas",
        'ids as ="007", which keeps zeros in Excel',
        {"a.csv": text("item_id,name", '"=""007""",Bag', '="008",Shoe')},
        named(("007", "Bag"), ("008", "Shoe")),
        "items",
    ),
)
