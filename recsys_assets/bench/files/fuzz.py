"""Part: give the readers mutated files, drawn by Hypothesis.

Each input is a file of the cases, changed in up to eight places: signs that mean something to a
reader, other bytes, parts removed, repeated or taken from another file. The readers may refuse it
(IngestError) or read it. Everything else is a fault:

- a crash: any other exception, or the end of the process;
- a hang: more than HANG_SECONDS;
- a lost row: a line of a text file that is in no row, no rejected line and no field.
"""

from __future__ import annotations

import faulthandler
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from recsys_assets.bench.files.all_cases import CASES
from recsys_assets.bench.files.judge import NOW
from recsys_assets.bench.harness.part import main
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.bring import Request, ingest
from recsys_assets.lib.own_data.charsets import TextFile
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.lib.own_data.sources import TEXT, read_batches, schema_of

HANG_SECONDS = 5.0
_DEAD_SECONDS = 60.0  # then the process ends itself
_LARGEST = 8_192  # bytes of a file that is mutated
_EXAMPLES = 20  # faults that are kept
#: One input in so many also goes through a whole ingest.
_WHOLE = 40
_SIGNS = (
    b'"',
    b'""',
    b'",',
    b',"',
    b'\\"',
    b",",
    b";",
    b"\t",
    b"|",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xef\xbf\xbf",
    b"\xe9",
    b"\xc3",
    b"sep=;\n",
    b"-1",
    b"nan",
    b"1e308",
    b"9" * 30,
    b"12345.0",
    b"4.00639E+12",
    b"13/13/2026",
    b" ",
    b"=",
    b'="',
    "é".encode(),
    "\u2028".encode(),
    "🛒".encode(),
    b"x" * 300,
)
_FILES = [
    (name, content)
    for case in CASES
    for name, content in case.files.items()
    if isinstance(content, bytes)
    and len(content) <= _LARGEST
    and not name.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".gif", ".zip", ".md"))
]


@st.composite
def mutated_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw (suffix, content) of a file."""
    name, content = draw(st.sampled_from(_FILES))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.integers(0, 5))
        if kind <= 2:
            content = content[:at] + draw(st.sampled_from(_SIGNS)) + content[at:]
        elif kind == 3:
            content = content[:at] + draw(st.binary(min_size=1, max_size=4)) + content[at + 1 :]
        elif kind == 4:
            end = at + draw(st.integers(1, 40))
            content = content[:at] + content[end:]
        else:
            other = draw(st.sampled_from(_FILES))[1]
            begin = draw(st.integers(0, len(other)))
            part = other[begin : begin + draw(st.integers(1, 60))]
            content = content[:at] + part + content[at:]
    return name[name.index(".") :].lower(), content


def lines_lost(path: Path) -> int:
    """Return how many lines of a text file its rows and rejected lines do not account for.

    Blank lines and the header are no rows. A negative number: lines were counted twice.

    Raises:
        IngestError: the file is refused.
    """
    text = b"".join(TextFile(path)).decode()
    lines = text.split("\n")[:-1]
    columns = schema_of(path)
    found = 0
    for batch in read_batches(path, columns or {}):
        ends = batch.frame.select(pl.all().str.count_matches("\n").fill_null(0).sum())
        found += batch.frame.height + sum(ends.row(0)) if batch.frame.width else 0
        found += len(batch.malformed) + sum(line.text.count("\n") for line in batch.malformed)
    header = 2 if text.lstrip("\n").lower().startswith(("sep=", '"sep=')) else 1
    if columns is None:
        return max(0, sum(bool(line.strip()) for line in lines) - header + 1)
    blank = sum(not line.strip() for line in lines)
    least, most = len(lines) - blank - header, len(lines) - 1
    return least - found if found < least else min(0, most - found)


def _read(path: Path) -> int:
    """Read a file, and return the lines that were lost."""
    if path.suffix in TEXT:
        return lines_lost(path)
    columns = schema_of(path)
    for _ in read_batches(path, columns or {}):
        pass
    return 0


def _ingested(path: Path) -> int:
    """Ingest a file as a log, and return the rows that the report does not account for."""
    with tempfile.TemporaryDirectory() as folder:
        request = Request([str(path)], LogRules())
        report = ingest(Path(folder) / "landing", request, now=NOW, start_day=None)
    log = report["sources"][0]
    return int(log["rows_read"] - log["accepted"] - sum(log["rejected"].values()))


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Run ``inputs`` inputs from a ``seed``, in ``folder``."""
    folder = Path(request["folder"])
    counts: Counter[str] = Counter()
    faults: list[str] = []
    slowest = 0.0

    def attempt(number: int, path: Path) -> Iterator[tuple[str, str]]:
        for whole in (False, True)[: 2 if number % _WHOLE == 0 else 1]:
            try:
                lost = _ingested(path) if whole else _read(path)
                if lost:
                    yield "lost", f"{lost} rows lost"
            except IngestError:
                counts["refused"] += 1
            except BaseException as error:
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
                yield "crashes", f"{type(error).__name__}: {str(error)[:300]}"

    @seed(request["seed"])
    @settings(
        max_examples=request["inputs"],
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated_files())
    def run(file: tuple[str, bytes]) -> None:
        nonlocal slowest
        suffix, content = file
        path = folder / f"input{suffix}"
        path.write_bytes(content)
        faulthandler.dump_traceback_later(_DEAD_SECONDS, exit=True)
        counts["inputs"] += 1
        began = time.monotonic()
        found = list(attempt(counts["inputs"], path))
        took = time.monotonic() - began
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, took)
        if took > HANG_SECONDS:
            found.append(("hangs", f"{took:.1f} s"))
        for kind, why in found:
            counts[kind] += 1
            if len(faults) < _EXAMPLES:
                kept = folder / f"fault-{request['seed']}-{len(faults)}{suffix}"
                kept.write_bytes(content)
                faults.append(f"{kept.name}: {why}")
        path.unlink()

    run()
    return {**counts, "faults": faults, "slowest": slowest}


if __name__ == "__main__":
    main(body)
