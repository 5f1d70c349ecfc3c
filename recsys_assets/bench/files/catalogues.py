"""Cases of catalogues and users: prices, categories and the long form."""

from __future__ import annotations

from recsys_assets.bench.files.case import FileCase, Reading, Refusal, named, parquet, priced, text


def _prices(*prices: str, delimiter: str = "\t") -> bytes:
    return text(f"item_id{delimiter}price", *(f"i{n}{delimiter}{p}" for n, p in enumerate(prices)))


def _amounts(*amounts: float | None, says: tuple[str, ...] = ()) -> Reading:
    return priced(*((f"i{n}", amount) for n, amount in enumerate(amounts)), says=says)


_UNREAD = "price is not a number above 0: taken as unknown"

PRICES = (
    FileCase(
        "decimal_commas",
        "12,50",
        {"a.csv": _prices("12,50", "3,5", "7", delimiter=";")},
        _amounts(12.5, 3.5, 7.0),
        "items",
    ),
    FileCase(
        "currency_signs",
        "signs, codes and words of currencies",
        {
            "a.tsv": _prices(
                "$12.50", "12.50 €", "EUR 12.50", "CHF 12.-", "£3", "99 kr", "US$ 1.05", "4.20 zł"
            )
        },
        _amounts(12.5, 12.5, 12.5, 12.0, 3.0, 99.0, 1.05, 4.2),
        "items",
    ),
    FileCase(
        "thousands",
        "1,234.50",
        {"a.tsv": _prices("1,234.50", "1,234", "1,234,567.00", "8")},
        _amounts(1234.5, 1234.0, 1234567.0, 8.0),
        "items",
    ),
    FileCase(
        "european_thousands",
        "1.234,50",
        {"a.tsv": _prices("1.234,50 €", "1.234 €", "0,99 €", "1 234,50 €", "12,- €")},
        _amounts(1234.5, 1234.0, 0.99, 1234.5, 12.0),
        "items",
    ),
    FileCase(
        "no_cents",
        "1.299,- and 99:-",
        {"a.tsv": _prices("1.299,-", "99:- kr", "kr. 45,-")},
        _amounts(1299.0, 99.0, 45.0),
        "items",
    ),
    FileCase(
        "swiss_thousands",
        "1'234.50",
        {"a.tsv": _prices("1'234.50", "CHF 1’000.–")},
        _amounts(1234.5, 1000.0),
        "items",
    ),
    FileCase(
        "indian_thousands",
        "1,23,456.00",
        {"a.tsv": _prices("₹ 1,23,456.00", "₹ 99.00")},
        _amounts(123456.0, 99.0),
        "items",
    ),
    FileCase(
        "thousands_or_decimals",
        "1.234 alone: a thousand, or three decimals?",
        {"a.tsv": _prices("1.234", "2.500", "8")},
        _amounts(None, None, 8.0, says=('with --decimal)": 2',)),
        "items",
    ),
    FileCase(
        "decimal_given",
        "the same with --decimal ,",
        {"a.tsv": _prices("1.234", "2.500", "8")},
        _amounts(1234.0, 2500.0, 8.0),
        "items",
        {"decimal": ","},
    ),
    FileCase(
        "three_decimals",
        "1.234 beside 0.125: decimals",
        {"a.tsv": _prices("1.234", "0.125")},
        _amounts(1.234, 0.125),
        "items",
    ),
    FileCase(
        "no_price",
        "what is no price",
        {
            "a.tsv": _prices(
                "10 - 20",
                "from 10",
                "free",
                "-5",
                "2 for 5",
                "10 kg",
                "1.5.2",
                "0",
                "9.90",
                "12.5 %",
                "1,2,3",
                "call us",
            )
        },
        _amounts(
            None, None, None, None, None, None, None, None, 9.9, None, None, None, says=(_UNREAD,)
        ),
        "items",
    ),
    FileCase(
        "float_prices",
        "prices as floats in Parquet",
        {"a.parquet": parquet({"item_id": ["i0", "i1"], "price": [1.234, 2500.0]})},
        _amounts(1.234, 2500.0),
        "items",
    ),
)


def _categories(*values: str) -> bytes:
    return text("item_id\tcategory_l1", *(f"i{n}\t{value}" for n, value in enumerate(values)))


def _tagged(*rows: tuple[str, str, tuple[str, ...]]) -> Reading:
    return Reading(("category_l1", "category_l2", "tags"), rows)


CATEGORIES = (
    FileCase(
        "category_path",
        "Home > Kitchen > Pots",
        {"a.tsv": _categories("Home > Kitchen > Pots", "Home > Garden", "Home")},
        _tagged(
            ("Home", "Kitchen", ("Home", "Kitchen", "Pots")),
            ("Home", "Garden", ("Home", "Garden")),
            ("Home", "unknown", ("Home",)),
        ),
        "items",
    ),
    FileCase(
        "category_pipes",
        "Action|Comedy",
        {"a.tsv": _categories("Action|Comedy", "Comedy")},
        _tagged(("Action", "Comedy", ("Action", "Comedy")), ("Comedy", "unknown", ("Comedy",))),
        "items",
    ),
    FileCase(
        "category_paths",
        "several paths, as WooCommerce writes them; a comma inside a name",
        {"a.tsv": _categories("Home > Pots, Sale > Pots", "Home > Chairs, Tables & Lamps")},
        _tagged(
            ("Home", "Pots", ("Home", "Pots", "Sale")),
            ("Home", "Chairs, Tables & Lamps", ("Home", "Chairs, Tables & Lamps")),
        ),
        "items",
    ),
    FileCase(
        "category_lists",
        "lists in brackets",
        {"a.tsv": _categories('["Shoes", "Sale"]', "['Bags', \"Men's\"]", "[]")},
        _tagged(
            ("Shoes", "Sale", ("Shoes", "Sale")),
            ("Bags", "Men's", ("Bags", "Men's")),
            ("unknown", "unknown", ()),
        ),
        "items",
    ),
    FileCase(
        "category_lists_of_parquet",
        "a list column of Parquet",
        {
            "a.parquet": parquet(
                {"item_id": ["i0", "i1"], "category_l1": [["Shoes", "Sale"], ["Bags"]]}
            )
        },
        _tagged(("Shoes", "Sale", ("Shoes", "Sale")), ("Bags", "unknown", ("Bags",))),
        "items",
    ),
    FileCase(
        "category_both_given",
        "a path beside a second category of its own",
        {"a.tsv": text("item_id\tcategory_l1\tcategory_l2", "i0\tHome > Pots\tSteel")},
        _tagged(("Home", "Steel", ("Home", "Pots", "Steel"))),
        "items",
    ),
    FileCase(
        "category_spelling",
        "white space and case",
        {"a.tsv": _categories("Shoes", " shoes", "SHOES ", "Men  Shoes", "Men Shoes", "Shoes")},
        Reading(
            ("item_id", "category_l1"),
            (
                ("i0", "Shoes"),
                ("i1", "Shoes"),
                ("i2", "Shoes"),
                ("i3", "Men Shoes"),
                ("i4", "Men Shoes"),
                ("i5", "Shoes"),
            ),
            says=("category_l1 differs in case or white space",),
        ),
        "items",
    ),
    FileCase(
        "category_with_comma",
        "a comma and a slash inside a name",
        {"a.tsv": _categories("Pots, Pans", "TV/Video")},
        Reading(("item_id", "category_l1"), (("i0", "Pots, Pans"), ("i1", "TV/Video"))),
        "items",
    ),
)

_LONG = text(
    "item_id,time,property,value",
    "1,1768299330,name,Old bag",
    "1,1768299999,name,Bag",
    "1,1768299330,price,10.5",
    "2,1768299330,name,Shoe",
    "1,1768299331,colour,red",
    ",1768299331,name,lost",
)

LONG_FORM = (
    FileCase(
        "long_form",
        "one row per property; the latest value counts",
        {"a.csv": _LONG},
        Reading(
            ("item_id", "name", "price"), (("1", "Bag", 10.5), ("2", "Shoe", None)), rejected=1
        ),
        "items",
    ),
    FileCase(
        "retailrocket_properties",
        "RetailRocket's item_properties, with a mapping",
        {
            "a.csv": text(
                "timestamp,itemid,property,value",
                "1435460400000,460429,categoryid,1",
                "1441508400000,460429,categoryid,1338",
                "1435460400000,206783,888,1116713 n277.200",
            )
        },
        Reading(("item_id", "category_l1"), (("460429", "1338"), ("206783", "unknown"))),
        "items",
        {"item_mapping": {"item_id": "itemid", "category_l1": "categoryid"}},
    ),
    FileCase(
        "properties_in_two_files",
        "properties of one item in two files of a folder, without a time",
        {
            "f/a.csv": text("id,attribute,value", "1,name,Bag", "2,name,Shoe"),
            "f/b.csv": text("id,attribute,value", "1,price,10", "1,name,Red bag"),
        },
        Reading(("item_id", "name", "price"), (("1", "Red bag", 10.0), ("2", "Shoe", None))),
        "items",
        source="f",
    ),
    FileCase(
        "words_for_no_value_in_a_catalogue",
        "nan, NULL and \\N as names, prices and categories",
        {"a.csv": text("item_id,name,price,category_l1", "1,\\N,NULL,nan", "2,Bag,5,Bags")},
        Reading(
            ("item_id", "name", "price", "category_l1"),
            (("1", "1", None, "unknown"), ("2", "Bag", 5.0, "Bags")),
            says=("a word for no value",),
        ),
        "items",
    ),
    FileCase(
        "header_again",
        "two files with headers, joined to one",
        {"a.csv": text("item_id,name", "1,Bag", "item_id,name", "2,Hat")},
        named(("1", "Bag"), ("2", "Hat"), rejected=1),
        "items",
    ),
    FileCase(
        "commas_in_unquoted_prices",
        "decimal commas in an unquoted CSV",
        {"a.csv": text("item_id,price", "1,5,50", "2,6,25")},
        Refusal(("malformed line: 2", "fields in each line")),
        "items",
    ),
    FileCase(
        "item_twice",
        "an item in two rows",
        {"a.csv": text("item_id,name", "1,Bag", "1,Hat")},
        named(("1", "Bag"), rejected=1),
        "items",
    ),
    FileCase(
        "minus_one_in_a_catalogue",
        "-1 as an item id",
        {"a.csv": text("item_id,name", "-1,none", "1,Bag")},
        named(("1", "Bag"), rejected=1),
        "items",
    ),
    FileCase(
        "other_catalogue_header",
        "columns of other names",
        {"a.csv": text("sku,title,cost", "1,Bag,2")},
        Refusal(("--item-map item_id=sku", "--item-map name=title", "--item-map price=cost")),
        "items",
    ),
    FileCase(
        "catalogue_without_header",
        "no header",
        {"a.csv": text("1,Bag,2.50", "2,Shoe,3.50")},
        Refusal(("no header", "--item-columns")),
        "items",
    ),
    FileCase(
        "float_ids_of_a_catalogue",
        "ids as 12345.0",
        {"a.csv": text("item_id,name", "12345.0,Bag")},
        Refusal(("item_id", "12345.0", "as text")),
        "items",
    ),
)

USERS = (
    FileCase(
        "users",
        "ages and genders in other words",
        {
            "a.csv": text(
                "user_id;age;gender", "u1;34;female", "u2;34,0;M", "u3;;x", encoding="utf-8-sig"
            )
        },
        Reading(
            ("user_id", "age", "gender"),
            (("u1", 34, "F"), ("u2", 34, "M"), ("u3", None, "-1")),
            says=("gender is not F or M",),
        ),
        "users",
    ),
)

CASES = (*PRICES, *CATEGORIES, *LONG_FORM, *USERS)
