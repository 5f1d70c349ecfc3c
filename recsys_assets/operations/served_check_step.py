"""Check in a process of its own whether a release serves what was evaluated.

    python -m recsys_assets.operations.served_check_step RELEASE FILE

An asset starts this process, so that servers and models leave its memory with it. The result is
written to FILE.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from recsys_assets.artifacts import ArtifactError
from recsys_assets.exits import run_and_leave
from recsys_assets.files import FileCorrupt, write_json
from recsys_assets.lib.served_check.outcome import ServedOutcome
from recsys_assets.lib.served_check.subject import CheckImpossible, NothingHeldOut
from recsys_assets.operations.served_check import check_served
from recsys_assets.operations.services import ServiceError
from recsys_assets.serving.stages import (
    candidate_sources,
    context,
    decoding,
    embedding_lookup,
    item_lookup,
    onnx_models,
    ordering,
    retrieval,
    seen_items,
    tabular,
    user_lookup,
)
from recsys_assets.settings import Settings, get_settings

#: The registry imports these by computed names. Named here, they are code of the check: a change
#: of a stage checks every release again.
STAGE_MODULES = (
    candidate_sources,
    context,
    decoding,
    embedding_lookup,
    item_lookup,
    onnx_models,
    ordering,
    retrieval,
    seen_items,
    tabular,
    user_lookup,
)


def outcome(settings: Settings, number: int) -> ServedOutcome:
    """Return the result of the check, or why there is none."""
    try:
        found = check_served(settings, number, say=lambda line: print(line, flush=True))
    except NothingHeldOut as error:
        return {"agreement": None, "nothing": str(error), "impossible": ""}
    except (CheckImpossible, ArtifactError, FileCorrupt, ServiceError) as error:
        return {"agreement": None, "nothing": "", "impossible": str(error)}
    return {"agreement": found, "nothing": "", "impossible": ""}


def main() -> None:
    """Check the release of the command line."""
    number, path = sys.argv[1:]
    # the servers of the own home end with the blocks that started them
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    write_json(Path(path), outcome(get_settings(), int(number)))


if __name__ == "__main__":
    run_and_leave(main)
