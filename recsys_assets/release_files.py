"""Declare the files of model artifacts, releases and model version directories.

Training writes the model artifacts. ``lib`` builds releases from them. Promotion copies a release's
model folders into version directories, and the stages open these. This module imports nothing and
stays valid Python 3.10, so that every environment can import it.
"""

from __future__ import annotations

# --- artifacts that a release is made from --------------------------------------------------------
QUERY_TOWER_ONNX, ITEM_TOWER_ONNX, RANKER_ONNX = "query_tower.onnx", "item_tower.onnx", "dlrm.onnx"
#: The ranker in the two parts that serve.
RANKER_ITEMS_ONNX, RANKER_LISTS_ONNX = "dlrm_items.onnx", "dlrm_lists.onnx"
PARITY = "parity.npz"  # sample inputs and outputs beside an exported model
TRANSFORMS = "transforms.json"
CLICK_VALUES = "click_values.parquet"  # event_id, value: of each click of a window
#: Beside a day's rows, and only where there is one: a row per dismissal, in the same columns.
DISMISSALS = "dismissed.parquet"
#: Folder of a data set with the transformed rows of DISMISSALS.
DISMISSED = "dismissed"
EMBEDDING_TABLE = "embedding_table.npy"
ITEM_TOWER_INPUTS = "item_tower_inputs.npz"
INDEX = "index.faiss"
#: Table, constant and half-life of the query of a simple rung.
RUNG_QUERY = "query.npz"

# --- the ads ranker ------------------------------------------------------------------------------
ADS_FILE = "ads.parquet"  # one day of shown ads
ADS_TRANSFORMS, ADS_DCN_ONNX = "ads_transforms.json", "ads_dcn.onnx"
VALID_SCORES = "valid_scores.npy"  # of the validation rows, in their order
ADS_HELD_OUT = "held_out.parquet"  # held-out rows of an incremental training, as they were served
ADS_CONSUMED = "consumed.json"  # up to which moment of settling such a training has consumed rows
ADS_TRANSFORM, ADS_DCN = "ads_nvt_transform", "ads_dcn"  # the models that serve
#: Rows with their scores, which a replica must give again before it serves a release.
ADS_SAMPLE = "sample.parquet"

# --- a release ------------------------------------------------------------------------------------
RELEASE_FILE, DISPLAY_FILE, IMAGES_FILE = "release.json", "display.json", "images.parquet"
ITEM_IDS_FILE, SIMILAR_FILE = "item_ids.json", "similar_items.npy"
# the whole ranker, for offline evaluation; the two parts that serve are in MODELS
RANKER_FILE = "ranker.onnx"
MODELS = "models"  # one folder per model, with the files of its version directory

# --- a model's version directory ------------------------------------------------------------------
FILES, CODE = "files.json", "model.py"  # digests of the other files; Triton's entry point
PARTS = "parts.json"  # in the fused model: versions of the models that it runs
MODEL = "model.onnx"
ITEMS, LISTS = "items.onnx", "lists.onnx"
HISTORY = "history.json"  # width of the query tower's click history
SAMPLING = "sampling.json"
SNAPSHOT = "items.json"  # item features for items that the online store lacks
POPULARITY = "popularity.json"
SEEN_RULE = "seen.json"  # which of a visitor's events hide an item, and for how long
USER_DEFAULTS = "user_defaults.json"
SOURCES = "sources.json"  # sources of candidates and their weights; the arrays lie beside it
LIST_NET = "list_net.npy"  # of a release whose blend has one; see ``lib/sources/list_net.py``
YOUNG = "young.npy"  # which items have too few clicks to be judged by them

QUERY_TOWER, RANKER = "query_tower", "dlrm_ranking"
CANDIDATE_SOURCES, SAMPLER = "candidate_sources", "softmax_sampling"
#: Model → files of its version directory, in the order of serving.
MODEL_FILES: dict[str, tuple[str, ...]] = {
    "context_preprocessor": (),
    "feast_user_lookup": (USER_DEFAULTS,),
    "nvt_user_transform": (TRANSFORMS,),
    "nvt_context_transform": (TRANSFORMS,),
    QUERY_TOWER: (MODEL, HISTORY),
    "faiss_retrieval": (INDEX,),
    CANDIDATE_SOURCES: (SOURCES, YOUNG, EMBEDDING_TABLE),  # and the arrays of its sources
    # INDEX: searches again if few remain
    "filter_seen_items": (ITEM_IDS_FILE, POPULARITY, SEEN_RULE, INDEX),
    "feast_item_lookup": (ITEM_IDS_FILE, SNAPSHOT, TRANSFORMS),
    "nvt_item_transform": (TRANSFORMS,),
    "multimodal_embedding_lookup": (EMBEDDING_TABLE,),
    "unroll_features": (),
    RANKER: (ITEMS, LISTS),
    SAMPLER: (SAMPLING,),  # and YOUNG, where new items have places
    "item_id_decoder": (ITEM_IDS_FILE,),
}
#: File of the ranker's version directory → file of the ranking artifact.
RANKER_PARTS = {ITEMS: RANKER_ITEMS_ONNX, LISTS: RANKER_LISTS_ONNX}


def model_file(model: str, name: str) -> str:
    """Return the path, inside a release, of a file of a model.

    >>> model_file("query_tower", MODEL)
    'models/query_tower/model.onnx'
    """
    return f"{MODELS}/{model}/{name}"


def models_with(name: str) -> list[str]:
    """Return the models whose version directory holds a file of this name.

    >>> models_with(INDEX)
    ['faiss_retrieval', 'filter_seen_items']
    """
    return [model for model, names in MODEL_FILES.items() if name in names]
