"""Turn a catalogue with one row per property into one with a row per item."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from recsys_assets.lib.landing.quarantine import SOURCE_FILE, SOURCE_ROW
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.delimited import plain
from recsys_assets.lib.own_data.times import detect, microseconds
from recsys_assets.local_time import UTC

OURS = "\0"  # begins the names of our columns beside the source's own
_PROPERTY_OF, _VALUE_OF, _MICROS = "\0\0property", "\0\0value", "\0\0micros"
_MOST_PROPERTIES = 100_000

#: Names of the columns of a property and of its value, without case and punctuation.
_PROPERTY = ("property", "propertyname", "attribute", "attributename", "field", "key")
_VALUE = ("value", "propertyvalue", "attributevalue")
_TIME = ("time", "timestamp", "ts", "date", "updatedat")


def long_columns(present: Collection[str]) -> tuple[str, str, str | None] | None:
    """Return the columns of property, value and time (None: there is none) of a long form.

    Returns None if the columns are not those of a long form: it has an id beside them, and nothing
    else.
    """
    names = {plain(name): name for name in present}
    property_ = next((names[one] for one in _PROPERTY if one in names), None)
    value = next((names[one] for one in _VALUE if one in names), None)
    time = next((names[one] for one in _TIME if one in names), None)
    if property_ is None or value is None or len(names) != 3 + (time is not None):
        return None
    return property_, value, time


class LongForm:
    """Collects rows of properties, of one file or many, and makes one row per id.

    Args:
        wanted: our columns.
        key: the id among them.
        mapping: our column → property.
        aliases: our column → another property that needs no mapping.
        option: the command's option that gives the mapping.

    Attributes:
        properties: our column → property, of those that were found.
    """

    def __init__(
        self,
        wanted: Sequence[str],
        key: str,
        mapping: Mapping[str, str],
        aliases: Mapping[str, str],
        option: str,
    ) -> None:
        self._key, self._option = key, option
        self._names = {
            name: [mapping[name]] if name in mapping else [name, *filter(None, [aliases.get(name)])]
            for name in wanted
            if name != key
        }
        self._mapping = mapping
        self._rows: list[pl.DataFrame] = []
        self._seen: dict[str, None] = {}
        self.properties: dict[str, str] = {}

    def add(self, rows: pl.DataFrame, key: str, columns: Sequence[str]) -> None:
        """Add rows as text; keep the wanted properties, and one row per id.

        Args:
            rows: with their places.
            key: the column of the id.
            columns: those of property and value, and of the time if there is one.
        """
        property_, value, *time = columns
        if len(self._seen) < _MOST_PROPERTIES:
            self._seen |= dict.fromkeys(rows[property_].drop_nulls().unique(maintain_order=True))
        micros = pl.Series([0], dtype=pl.Int64).new_from_index(0, rows.height)
        for one in time:
            micros = microseconds(rows, one, detect(rows[one], UTC))
        kept = rows.select(
            pl.col(key).alias(OURS + self._key),
            pl.col(property_).alias(_PROPERTY_OF),
            pl.col(value).alias(_VALUE_OF),
            SOURCE_FILE,
            SOURCE_ROW,
            micros.alias(_MICROS),
        )
        names = [one for several in self._names.values() for one in several]
        wanted = pl.col(_PROPERTY_OF).is_in(names) | pl.col(OURS + self._key).is_first_distinct()
        self._rows.append(kept.filter(wanted))

    def rows(self) -> pl.DataFrame | None:
        """Return one row per id, with the last value of each property; None without rows.

        Raises:
            IngestError: a mapping names a property that no row has.
        """
        if not self._rows:
            return None
        for name, own in self._mapping.items():
            if name != self._key and own not in self._seen:
                raise IngestError(
                    f"{self._option} {name}={own}: there is no such property; the properties are "
                    f"{', '.join(list(self._seen)[:20])}"
                )
        key = OURS + self._key
        every = pl.concat(self._rows)
        wide = every.unique(key, keep="first", maintain_order=True).select(
            key, SOURCE_FILE, SOURCE_ROW
        )
        by_time = every.sort(_MICROS, maintain_order=True, nulls_last=False)
        for name, several in self._names.items():
            found = [one for one in several if one in self._seen]
            if not found:
                continue
            self.properties[name] = own = found[0]
            last = (
                by_time.filter(pl.col(_PROPERTY_OF) == own)
                .unique(key, keep="last", maintain_order=True)
                .select(key, pl.col(_VALUE_OF).alias(OURS + name))
            )
            wide = wide.join(last, on=key, how="left", maintain_order="left")
        return wide
