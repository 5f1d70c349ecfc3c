"""Writes the evaluation as one HTML file with tables and inline SVG.

The page loads nothing, and can be read on a phone and with a screen reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from recsys_assets.lib.evaluation.best_baseline import sentence
from recsys_assets.lib.evaluation.measures import EvaluationSummary, value_of
from recsys_assets.lib.evaluation.views import (
    Cell,
    ReportTable,
    cell_text,
    figures,
    interval_text,
    number,
    tables,
)
from recsys_assets.lib.figures.plots import Figure

_STYLE = """
:root { color-scheme: light; --ink: #1f2328; --soft: #57606a; --line: #d0d7de; --ground: #f6f8fa }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 62rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 } h2 { font-size: 1.2rem; margin: 0 0 .5rem }
time { white-space: nowrap } p { margin: .4rem 0; max-width: 46rem } .soft { color: var(--soft) }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin: 1rem 0 }
.wide { overflow-x: auto } .wide:focus-visible { outline: 2px solid #0072b2; outline-offset: 2px }
table { border-collapse: collapse; min-width: min(100%, 24rem); font-size: .9rem; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top }
thead th { color: var(--soft); font-weight: 600 }
th:first-child, td.text { text-align: left } td.text { min-width: 10rem }
tbody th { font-weight: 500; min-width: 7rem; position: sticky; left: 0; background: #fff }
.interval { display: block; color: var(--soft); font-size: .8rem; white-space: nowrap }
figure { margin: 1rem 0 0 } figure svg { width: 100%; max-width: 560px; height: auto; display: block }
ul.targets { list-style: none; margin: 0; padding: 0 }
ul.targets li { display: grid; grid-template-columns: 9rem 1fr; gap: .2rem .75rem; padding: .6rem 0; border-top: 1px solid var(--line) }
ul.targets li:first-child { border-top: 0 }
.verdict { justify-self: start; align-self: start; font-weight: 600; border-radius: 1rem; padding: .05rem .7rem; white-space: nowrap }
.met { background: #dafbe1; color: #0a5223 } .missed { background: #ffebe9; color: #8b1a1a }
.unmeasured { background: #eaeef2; color: #424a53 }
@media (max-width: 40rem) {
  main { padding: .5rem } section { padding: .75rem; margin: .75rem 0 } ul.targets li { grid-template-columns: 1fr }
  table { font-size: .85rem } th, td { padding: .35rem .5rem } tbody th { min-width: 5.5rem; max-width: 8rem }
}
@media print { body { background: #fff } section { break-inside: avoid } .wide { overflow: visible } }
""".strip()
#: Forbids the browser to load anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SECTIONS = (
    ("Whole lists", ("systems", "differences"), ("ndcg@10", "recall_curve")),
    ("Slices", ("slices",), ("slices",)),
    ("Ranker", ("ranker",), ("reliability",)),
    ("Beyond accuracy", ("beyond_accuracy",), ()),
    ("Sessions", ("session_moves",), ("session_moves", "session_ndcg@10")),
    ("Ablations", ("ablations", "cold_items"), ("ablations",)),
)


def page(summary: EvaluationSummary) -> str:
    """Return ``evaluation.json`` as an HTML document; all texts of the data are escaped."""
    drawn, shown = figures(summary), tables(summary)
    title = f"Evaluation as of {summary['as_of']} ({summary['scale']})"
    heading = escape(title).replace(
        escape(summary["as_of"]), f"<time>{escape(summary['as_of'])}</time>", 1
    )
    body = [
        f"<h1>{heading}</h1>",
        *(f"<p>{escape(line)}</p>" for line in introduction(summary)),
        _targets(summary),
    ]
    for section, names, pictures in _SECTIONS:
        parts = [_table(shown[name]) for name in names if name in shown] + [
            _figure(drawn[name]) for name in pictures if name in drawn
        ]
        if parts:
            body.append(f"<section><h2>{escape(section)}</h2>{''.join(parts)}</section>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta '
        'http-equiv="Content-Security-Policy" '
        f'content="{_POLICY}"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def introduction(summary: EvaluationSummary) -> list[str]:
    """Return the sentences above the tables: the data, the oracle and the notes."""
    queries = summary["queries"]
    days = queries.get("days") or []
    counted = (
        f"{number(queries['queries'])} held-out clicks"
        if queries.get("queries")
        else "the held-out clicks"
    )
    when = f" of {days[0]} to {days[-1]}" if days else " of the validation days"
    said = [
        f"Every system answers {counted}{when} with a list over the whole catalogue"
        + (f" of {number(queries['items'])} items" if queries.get("items") else "")
        + "; items that the visitor clicked in the days before are dropped from every list."
    ]
    said.append(
        "The shop is simulated, so its truth is known, and the oracle ranks by the true "
        "probability of a click. No system can rank exposures better. On lists the oracle is a "
        "strong reference, not a bound, because clicks are on items that the shop chose to show."
        if summary["simulated"]
        else "This log was not simulated: its true click probabilities are unknown, so there is "
        "no oracle to compare with."
    )
    return [*said, *sentence(summary), *summary["notes"]]


def _targets(summary: EvaluationSummary) -> str:
    kinds = {
        True: ("met", "met"),
        False: ("missed", "not met"),
        None: ("unmeasured", "not measured"),
    }
    items = []
    for one in summary["targets"]:
        kind, verdict = kinds[one["met"]]
        figures_ = "" if one["value"] is None else f"<strong>{number(one['value'])}</strong>"
        goal = "" if one["target"] is None else f" against {number(one['target'])}"
        remark = f'<br><span class="soft">{escape(one["note"])}</span>' if one["note"] else ""
        items.append(
            f'<li><span class="verdict {kind}">{verdict}</span><span>{escape(one["text"])}'
            f"{': ' if figures_ else ''}{figures_}{goal if figures_ else ''}{remark}</span></li>"
        )
    met = sum(one["met"] is True for one in summary["targets"])
    return (
        f"<section><h2>Targets: {met} of {len(summary['targets'])} met</h2><ul "
        f'class="targets">{"".join(items)}</ul></section>'
    )


def _table(table: ReportTable) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(cell_text(row[0]))}</th>{"".join(map(_cell, row[1:]))}</tr>'
        for row in table.rows
    )
    note = f'<p class="soft">{escape(table.note)}</p>' if table.note else ""
    # a region that scrolls must be reachable by keyboard, and so it needs a name
    return (
        '<div class="wide" role="region" tabindex="0" '
        f'aria-label="{escape(table.title)}"><table><caption>{escape(table.title)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}"
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f'<td class="text">{escape(cell)}</td>'
    if isinstance(cell, Mapping):
        interval = interval_text(cell)
        return (
            f"<td>{number(value_of(cell))}"
            + (f'<span class="interval">{interval}</span>' if interval else "")
            + "</td>"
        )
    return f"<td>{escape(cell_text(cell))}</td>"


def _figure(figure: Figure) -> str:
    return f"<figure>{figure.inline()}</figure>"
