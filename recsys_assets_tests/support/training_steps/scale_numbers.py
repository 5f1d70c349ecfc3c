"""A training step one can follow: reads numbers, writes them scaled, reports metrics; knows four
ways to fail.
"""

import json
import sys
from pathlib import Path

from dagster_pipes import open_dagster_pipes

if __name__ == "__main__":
    with open_dagster_pipes() as pipes:
        params, inputs = pipes.extras["params"], pipes.extras["inputs"]
        print(
            f"python {sys.version_info.major}.{sys.version_info.minor} on {len(inputs['numbers'])} "
            "files"
        )
        if params["fail"] == "raise":
            raise ValueError(
                "column 'price' of day 2026-01-03 is empty; materialise raw/items again"
            )
        if params["fail"] == "import":
            import a_module_that_nobody_has  # noqa: F401
        if params["fail"] == "kill":
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        numbers = [n for path in inputs["numbers"] for n in json.loads(Path(path).read_text())]
        (Path(pipes.extras["output"]) / "scaled.json").write_text(
            json.dumps([n * params["factor"] for n in numbers])
        )
        pipes.log.info("scaled")
        if params["fail"] != "silent":
            pipes.report_custom_message({"metrics": {"rows": len(numbers)}})
            pipes.report_custom_message({"metrics": {"python": sys.executable}})
