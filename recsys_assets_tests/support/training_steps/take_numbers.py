"""A training step that copies the one file of its input artifact."""

from pathlib import Path

from dagster_pipes import open_dagster_pipes

if __name__ == "__main__":
    with open_dagster_pipes() as pipes:
        source = Path(pipes.extras["inputs"]["numbers"])
        (Path(pipes.extras["output"]) / "copy.json").write_text(
            (source / "numbers.json").read_text()
        )
        names = sorted(path.name for path in source.iterdir() if path.name != "manifest.json")
        pipes.report_custom_message(
            {"metrics": {"files": names}, "versions": {"python": "3.10.made-up"}}
        )
