"""Holds the limits of the gates, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Holds the limits of all checks, each with its reason."""

    #: AUC is judged only where scores without signal stay below this. Logged items were chosen by
    #: a model already, so AUC seldom exceeds 0.8.
    auc_chance: float = 0.6
    #: Mean gap between predicted and observed click rate, beyond the gap by chance. Click rates
    #: are about 0.05 to 0.3, so a gap of 0.05 is large.
    calibration_error: float = 0.05
    #: Shares of the champion's own figure. With the demo's 9,000 queries, nDCG@10 of one model is
    #: known to ± 5.5 % and recall@100 to ± 2.2 %; paired differences are known better. Visitors do
    #: not notice a loss within 3 %.
    ndcg_tolerance: float = 0.03
    recall_tolerance: float = 0.03
    #: In units of AUC: 2 % of the way from chance to the demo's 0.75.
    auc_tolerance: float = 0.005
    #: Share of the places that the most shown items take, relative to popularity's lists. Demo:
    #: 0.2. Identical lists: 1.
    concentration: float = 0.6
    #: Share of the catalogue that is in any list, relative to the possible share. Demo: 0.8.
    #: Popularity: 0.03.
    coverage: float = 0.2
    #: With fewer items, ten of them are a large part of the catalogue in any list.
    exposure_items: int = 100
    #: In a news shop, all lists are alike, also the champion's. So a failed check of the exposure
    #: blocks only where coverage@10, or 1 − concentration, is below this share of the champion's.
    exposure_loss: float = 0.5
    #: Milliseconds, median, one thread. A request may take 1,000 (settings.triton_timeout_ms) and
    #: passes 15 stages.
    query_tower_ms: float = 5.0
    ranker_ms: float = 25.0
    #: A slow machine slows the champion too. Above the budget, a model blocks only where it takes
    #: this many times the champion's time. Medians of 50 calls on a busy machine differ by less.
    latency_factor: float = 2.0
    #: Jensen-Shannon divergence, bits, of a feature's validation days from its training days,
    #: beyond what chance gives. The demo's largest is 0.006. A feature in other units, or suddenly
    #: empty, gives 0.5 to 1.
    drift: float = 0.25
    #: Difference of onnxruntime from TensorFlow. float32 resolves 6e-8 of values near 1.
    parity: float = 1e-6
    #: Fewer held-out exposures are too few to judge by.
    minimum_rows: int = 200
    #: With fewer visitors the bootstrap's interval is too narrow; of one visitor it has no width.
    #: With 20, equal models are called surely worse in one of 20 cases at most.
    visitors: int = 20
    #: With fewer queries in a slice, one query moves recall by 1 % or more.
    slice_queries: int = 100
    #: recall@k is judged only where the catalogue holds at least this many times k items. In a
    #: smaller one, any list shows nearly all items.
    catalogue_depth: int = 3
