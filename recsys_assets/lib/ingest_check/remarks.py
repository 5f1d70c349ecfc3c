"""Say, as sentences, what is worth a look: warnings, and what the data cannot teach."""

from __future__ import annotations

from collections.abc import Mapping

from recsys_assets.columns import CLICK, DEVICE_TYPE, EVENT_TYPE, IMPRESSION, VIEW
from recsys_assets.lib.embeddings.token_coverage import TokenCoverage
from recsys_assets.lib.ingest_check.findings import Findings


def language_sentence(found: TokenCoverage) -> str:
    """Return how well names and descriptions can be read."""
    figures = (
        f"{100 * found.unknown:.1f} % of the pieces into which it cuts words are unknown to it, "
        f"and a piece has {found.letters:.1f} letters on average"
    )
    if found.known:
        return f"Names and descriptions: the text model knows their words ({figures})."
    return (
        "Names and descriptions: the text model does not know their language well "
        f"({figures}). Lists still learn from what visitors do; new products, which have only "
        "their texts, are placed less well. Set RECSYS_TEXT_ENCODER to a model that knows the "
        "language, such as paraphrase-multilingual-MiniLM-L12-v2."
    )


def worth_a_look(findings: Findings) -> list[str]:
    """Return the warnings, as sentences."""
    said = []
    if findings.fresh_home:
        said.append(findings.fresh_home)
    if findings.replaces:
        said.append(
            "The command has --replace: it first removes the shop that is in the landing zone now."
        )
    if findings.log_is_known:
        said.append("The landing zone has this log already: to take it again changes nothing.")
    if any(one.part == "items" for one in findings.refusals) and "interactions" in findings.sources:
        said.append("The catalogue is refused, so the products of the log were compared with none.")
    if findings.language is not None and not findings.language.known:
        said.append(language_sentence(findings.language))
    said += findings.remedies
    report = findings.report
    if report is not None:
        if report["calendar"]:
            said += report["calendar"]["notes"]
        said += _unknown(findings)
    log = findings.sources.get("interactions")
    entry = log.entry if log else None
    if entry and entry["table"] == "interactions":
        said += _of_log(entry["events"], entry["mapping"])
        if entry["empty_files"]:
            said.append(f"Empty files: {', '.join(entry['empty_files'][:5])}.")
        if entry["accepted"] and findings.summary and not findings.summary.time_of_day:
            said.append(
                "Every event is at midnight: the times have no hours, so nothing can be learnt "
                "from the time of day."
            )
    return said


def _of_log(events_: Mapping[str, int], mapping: Mapping[str, str]) -> list[str]:
    said = []
    if EVENT_TYPE not in mapping and CLICK not in mapping:
        said.append(
            "The log does not say what happened (no event type): every row counts as a click."
        )
    elif VIEW not in events_ and IMPRESSION not in events_:
        said.append(
            "No row is a click or something that was shown. Name your word for a click with "
            "--event-type <word>=View."
        )
    elif IMPRESSION not in events_:
        said.append(
            "The log does not say which products were shown and not clicked. That works; a log "
            "with them (--event-type <word>=Impression) is better."
        )
    if DEVICE_TYPE not in mapping:
        said.append("The log does not say the device, so lists will not differ between devices.")
    return said


def _unknown(findings: Findings) -> list[str]:
    report = findings.report
    assert report is not None
    items, users = report["items"], report["users"]
    said = []
    if items["rows"] and items["derived"] == items["rows"]:
        said.append("There is no catalogue: products have no name, text, picture or price.")
    elif items["derived"]:
        said.append(
            f"{items['derived']:,} of {items['rows']:,} products are known by their number only."
        )
    if items["rows"] > items["derived"] and not report["pictures"]:
        said.append("No product has a picture. Give the folder of the pictures with --images.")
    if users["rows"] and users["derived"] == users["rows"]:
        said.append("Age and gender of the visitors are unknown. That is fine.")
    return said
