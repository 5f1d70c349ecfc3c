"""Write and open the artifact of a blend: what was chosen, for whom, and the files that serve."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.blend.choice import BlendChoice, decisive, quality
from recsys_assets.lib.blend.choice_figures import ChoiceFigures, Worth
from recsys_assets.lib.blend.fit import young_items
from recsys_assets.lib.blend.labels import ClickLabels, Retrieve
from recsys_assets.lib.blend.new_items import NewItemFigures, NewItems
from recsys_assets.lib.blend.source_artifacts import open_source
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import FOLDS
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.sources import Source
from recsys_assets.lib.sources.stored import (
    BY_SOURCES,
    JUDGED,
    SERVED,
    read_blend,
    read_net,
    write_blend,
    write_net,
)
from recsys_assets.local_time import day_number
from recsys_assets.release_files import EMBEDDING_TABLE, LIST_NET
from recsys_assets.source_names import RETRIEVAL, YOUNG_ITEMS

CHOICE_FILE = "choice.json"
#: Held-out clicks by which a blend is chosen, at most.
LABELS = 3_000


class BlendParts:
    """Holds what a blend is made from.

    Args:
        log: ``raw/interactions`` of the whole window.
        sources: name → artifact of the source, those that the settings allow.
        workflows: ``features/workflows``, for the vocabulary.
        aligned: ``embeddings/aligned``.
        train_days: ISO, of the as-of day.
        time_zone: of the shop.

    Raises:
        ValueError: a source was made from other workflows or embeddings; names the remedy.
    """

    def __init__(
        self,
        log: Sequence[Artifact],
        sources: Mapping[str, Artifact],
        workflows: Artifact,
        aligned: Artifact,
        train_days: Sequence[str],
        time_zone: str,
    ) -> None:
        for source in sources.values():
            require_made_from(source, {"workflows": workflows, "aligned": aligned})
        self.log, self.sources, self.workflows = log, sources, workflows
        self.vocabulary = item_vocabulary(workflows)
        self.content = aligned.path(EMBEDDING_TABLE)
        clicks = ClickLog.of(scan_interactions(log), self.vocabulary, time_zone)
        self.young = {
            JUDGED: young_items(clicks.before(day_number(train_days[-1]) + 1)),
            SERVED: young_items(clicks),
        }

    def opened(self, folder: str, names: Sequence[str] | None = None) -> tuple[Source, ...]:
        """Return the sources that could be fitted."""
        found = (
            open_source(artifact.local / folder, self.content)
            for name, artifact in self.sources.items()
            if names is None or name in names
        )
        return tuple(one for one in found if one is not None)

    def labels(
        self, asked: Queries, latest: LatestClicks, retrieve: Retrieve, catalogue: np.ndarray
    ) -> ClickLabels:
        """Ask all judged sources for the clicks of ``asked``; see ``ClickLabels.gather``."""
        blend = Blend(self.opened(JUDGED), {}, self.young[JUDGED])
        return ClickLabels.gather(blend, asked, latest, retrieve, catalogue)


def require_made_from(made: Artifact, parts: Mapping[str, Artifact]) -> None:
    """Raise ValueError unless an artifact was made from these parts: its rows are of their items.

    parts: role of the input → artifact. A role that the manifest does not record is not compared.
    """
    made_from = made.manifest.get("inputs", {})
    for role, part in parts.items():
        recorded = made_from.get(role)
        if isinstance(recorded, Mapping) and recorded.get("digest") != part.digest:
            raise ValueError(
                f"{made.kind} [{made.partition}] was made from another {part.kind}; "
                f"materialise {made.kind} again"
            )


def write_choice(
    parts: BlendParts, choice: BlendChoice, target: Path, new_items: NewItems
) -> ChoiceFigures:
    """Write the chosen sources and weights, judged and to serve; return the figures.

    Where new items have places, their source stays beside other sources: at weight 0 it orders
    nothing, but its items are candidates.
    """
    figures: ChoiceFigures = {**choice.figures, "new_items": new_items.figures}
    fitted = list(figures["weights"])  # the lists that a net reads
    if new_items.every and figures["mode"] == BY_SOURCES:
        if parts.opened(JUDGED, [YOUNG_ITEMS]):
            unweighted = {YOUNG_ITEMS: 0.0}
            figures["weights"] = unweighted | figures["weights"]
            figures["fold_weights"] = [unweighted | one for one in figures["fold_weights"]]
    names = [name for name in figures["weights"] if name != RETRIEVAL]
    for folder in (JUDGED, SERVED):
        (target / folder).mkdir()
        sources = parts.opened(folder, names)
        # of the judged sources, one that could not be fitted on all days is absent
        weights = {
            name: figures["weights"].get(name, 0.0)
            for name in (RETRIEVAL, *(one.name for one in sources))
            if figures["mode"] == BY_SOURCES
        }
        nets = [net.of_lists(fitted, list(weights)) for net in choice.nets]
        write_blend(
            target / folder,
            figures["mode"],
            sources,
            weights,
            parts.young[folder],
            net=nets[0] if nets else None,
            new_item_places=new_items.every,
        )
        for fold, net in enumerate(nets[1:] if folder == JUDGED else ()):
            write_net(target / folder / _fold_net(fold), net)
    write_json(target / CHOICE_FILE, figures)
    _write_figures(figures, target / "figures")
    return figures


def write_cost(figures: ChoiceFigures, new_items: NewItemFigures, target: Path) -> ChoiceFigures:
    """Add the cost of the places for new items to the files of ``write_choice``."""
    found: ChoiceFigures = {**figures, "new_items": new_items}
    write_json(target / CHOICE_FILE, found)
    _write_new_items(new_items, target / "figures")
    return found


def sampled(queries: Queries, most: int, seed: int) -> Queries:
    """Return the overall queries of whole visitors in random order, about ``most``."""
    rows = np.flatnonzero(queries.overall)
    users = queries.users[rows]
    drawn = np.random.default_rng([seed, 15]).permutation(users.max(initial=-1) + 1)
    place = np.argsort(drawn)[users]  # of each query's visitor in the order of the draw
    order = np.argsort(place, kind="stable")
    total = np.cumsum(np.bincount(place))
    visitors = int(np.searchsorted(total, most, side="right")) + 1
    return queries.subset(rows[order[place[order] < visitors]])


def judged_blends(folder: Path, aligned: Artifact) -> tuple[Blend, ...]:
    """Return the blend for the visitors of each fold, with weights that others' clicks gave.

    Its sources are fitted on the training days. Empty where the release has no sources.

    Args:
        folder: of ``write_choice``.
        aligned: ``embeddings/aligned`` that it was made from.
    """
    found = read_blend(folder / JUDGED, aligned.path(EMBEDDING_TABLE))
    if found is None:
        return ()
    figures: ChoiceFigures = json.loads((folder / CHOICE_FILE).read_text())
    return tuple(
        replace(
            found,
            weights={name: figures["fold_weights"][fold][name] for name in found.names},
            net=found.net and read_net(folder / JUDGED / _fold_net(fold), len(found.names)),
        )
        for fold in range(FOLDS)
    )


def _fold_net(fold: int) -> str:
    """Return the file of the net for the visitors of a fold."""
    return f"fold_{fold}.{LIST_NET}"


def without_places(blends: Sequence[Blend]) -> tuple[Blend, ...]:
    """Return the same blends without candidates for the places of new items."""
    return tuple(replace(one, new_item_places=0) for one in blends)


def _write_figures(figures: ChoiceFigures, folder: Path) -> None:
    folder.mkdir()
    (folder / "blend.md").write_text(f"**{figures['chosen']}**: {figures['why']}.")
    _write_new_items(figures["new_items"], folder)
    if not figures["alternatives"]:
        return
    rows: list[dict[str, Any]] = []
    metric = "value-weighted nDCG@10" if figures.get("valued") else "nDCG@10"
    for name, one in sorted(figures["alternatives"].items(), key=lambda pair: -quality(pair[1])):
        difference = decisive(one)
        rows.append(
            {
                "alternative": name,
                metric: quality(one),
                "minus the default": "the default"
                if difference is None
                else f"{difference['value']:+.4f} [{difference['low']:+.4f}, "
                f"{difference['high']:+.4f}]",
                **({"nDCG@10": one["ndcg"]} if figures.get("valued") else {}),
                "chosen": "yes" if name == figures["chosen"] else "",
            }
        )
    (folder / "alternatives.md").write_text(markdown_table(pl.DataFrame(rows)))
    if not figures["sources"]:  # too few clicks to say what each is worth
        return
    table = [
        {
            "source": name,
            f"{metric} alone": one["alone"],
            "share of clicks in its list": one["listed"],
            f"{metric} of all others": one["without"],
            "weight": figures["weights"].get(name),
            "in the release": _in_release(name, one, figures),
        }
        for name, one in figures["sources"].items()
    ]
    (folder / "sources.md").write_text(markdown_table(pl.DataFrame(table)))
    if figures["net"] is not None:
        charts = [
            plots.line_chart(
                f"Part {number} of the net: listwise loss of held-out visitors per epoch; "
                f"epoch {figures['net']['epochs'][number - 1]} serves",
                losses,
                [str(epoch) for epoch in range(len(losses))],
            )
            for number, losses in enumerate(figures["net"]["held_out"], 1)
        ]
        (folder / "net.md").write_text("\n\n".join(charts))
    (folder / "sources_alone.md").write_text(
        plots.bar_chart(
            f"{metric} of each source alone, held-out clicks",
            {name: one["alone"] for name, one in figures["sources"].items()},
        )
    )


def _in_release(name: str, worth: Worth, figures: ChoiceFigures) -> str:
    if worth["kept"]:
        return "yes"
    if name in figures["weights"]:
        return "yes, at weight 0: new items have places"
    return "no: it adds less than half a percent"


def _write_new_items(figures: NewItemFigures, folder: Path) -> None:
    """Write the table of the places for new items."""
    every = figures["every"]
    said = f"one in {every}" if every else "none"
    text = f"Places for new items: **{said}**: {figures['why']}."
    ndcg, difference, exposure = figures["ndcg"], figures["difference"], figures["exposure"]
    if ndcg is not None and difference is not None and exposure is not None:
        recall = figures["recall"]
        rows = [
            {"figure": "nDCG@10, all clicks", **ndcg},
            *([{"figure": "recall@50, clicks on new items", **recall}] if recall else []),
            {"figure": "new items among the first 10", **exposure},
        ]
        table = pl.DataFrame(rows).rename({"without": "without places", "places": "with places"})
        text += (
            f"\n\nnDCG@10 changes by {difference['value']:+.4f} [{difference['low']:+.4f}, "
            f"{difference['high']:+.4f}].\n\n{markdown_table(table)}"
        )
    (folder / "new_items.md").write_text(text)
