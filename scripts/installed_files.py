"""Check that every file that this environment's packages installed is there, with its size.

A deleted or truncated file shows up here, in under a second, and not as an import error an hour
later. Exit status 1 and one line where something is missing.
"""

from __future__ import annotations

import csv
import os
import sys
import sysconfig
from pathlib import Path

site = sysconfig.get_paths()["purelib"]
missing: list[str] = []
for record in Path(site).glob("*.dist-info/RECORD"):
    with open(record, newline="") as lines:
        for name, _, size in csv.reader(lines):
            if name.endswith(".pyc"):
                continue
            try:
                if size and os.stat(os.path.join(site, name)).st_size != int(size):
                    missing.append(name)
            except FileNotFoundError:
                missing.append(name)
if missing:
    print(f"setup: {len(missing)} installed files are missing or changed, {missing[0]} among them")
    sys.exit(1)
