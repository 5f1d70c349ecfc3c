"""Check that all installed files of this environment exist and have their size.

A deleted or truncated file is found in under a second, not as an import error an hour later. If a
file is missing or has another size, the exit status is 1 and one line names the file.
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
