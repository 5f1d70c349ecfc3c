"""Run the calls of docs/api.md as they are written, with curl."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from recsys_assets.settings import PROJECT_ROOT

#: As the document sets them; G is the gateway's address.
_HEADERS = "J='content-type: application/json'; A=\"authorization: Bearer $RECSYS_TOKEN\""


def documented_calls() -> list[str]:
    """Return the curl lines of the document."""
    lines = (PROJECT_ROOT / "docs" / "api.md").read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith("curl ")]


def called(line: str, gateway: str, words: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Run one line in a shell; return the HTTP status and the body.

    Args:
        line: of ``documented_calls``.
        gateway: its address.
        words: what stands in the document → what is sent.
        folder: where a file that the call writes goes.
    """
    assert _HEADERS in (PROJECT_ROOT / "docs" / "api.md").read_text("utf-8")
    for word, sent in words.items():
        line = line.replace(word, sent)
    body = folder / "body"
    output = "" if " -o " in line else f" -o {body}"
    done = subprocess.run(
        ["bash", "-c", f"G={gateway}; {_HEADERS}; {line} -s{output} -w '%{{http_code}}'"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout), body.read_text() if output else ""
