"""Define column names, values and table schemas, shared by all three environments.

This module imports only the standard library, so that the training environment (Python 3.10,
Merlin) and the serving environment can import it. Ids and categorical values are strings
everywhere, so that an id of any type is unchanged from the log to the answer.
"""

from __future__ import annotations

from typing import Literal, get_args

SECONDS_PER_HOUR, SECONDS_PER_DAY = 3_600, 86_400
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0

UNKNOWN_CATEGORY = "unknown"

# --- names ----------------------------------------------------------------------------------------
EVENT_ID = "event_id"
USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
DEVICE_TYPE = "device_type"
EVENT_TYPE = "event_type"
CLICK = "click"
#: What a clicked row is worth; absent where each click counts once (see ``event_values``).
VALUE = "value"
ARRIVED = "arrived"
REQUEST_ID = "request_id"
AGE = "age"
GENDER = "gender"
TOP_CATEGORY = "top_category"
CATEGORY_L1 = "category_l1"
CATEGORY_L2 = "category_l2"
ITEM_GENDER = "item_gender"
PRICE = "price"
CLICKS_24H = "clicks_24h"
CLICKS_LOOK_BACK, CATEGORY_CLICKS_LOOK_BACK, CATEGORY_CLICKS_24H = (
    "clicks_look_back",
    "category_clicks_look_back",
    "category_clicks_24h",
)
HOURS_SINCE_CLICK = "hours_since_click"
ITEM_CLICKS = "item_clicks"
RECENT_CATEGORIES, RECENT_ITEMS, RECENT_TIMESTAMPS = (
    "recent_categories",
    "recent_items",
    "recent_timestamps",
)
#: Latest clicks of a visitor that the query tower reads.
ITEM_HISTORY = 50
#: Columns of click_history.parquet beside event_id: the categories of all clicks of the look-back,
#: the items of the latest ITEM_HISTORY of them, and the hours since each. All are oldest first.
HISTORY_CATEGORIES, HISTORY_ITEMS, HISTORY_AGES = "categories", "items", "ages"
#: Parts of the clicked rows' histories in a folder of datasets: files <split>_<part>.npy.
HISTORY_PARTS = ("history", "items", "ages")

# --- values ---------------------------------------------------------------------------------------
#: Raw form of a masked, unknown or absent categorical value. Workflows map it to
#: out-of-vocabulary.
Missing = Literal["-1"]
MISSING: Missing = "-1"
Device = Literal["mobile", "desktop", "tablet"]
DEVICES: tuple[Device, ...] = get_args(Device)
GENDERS = ("F", "M")
ITEM_GENDERS = ("F", "M", "Any")
#: Impression: an item was shown and not clicked. View: it was clicked. Dismiss: the visitor is not
#: interested and does not want to be shown it again. The others follow a click.
EventType = Literal[
    "Impression", "View", "AddToCart", "ViewCart", "StartCheckout", "Purchase", "Dismiss"
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
IMPRESSION, VIEW, PURCHASE, DISMISS = (
    EVENT_TYPES[0],
    EVENT_TYPES[1],
    EVENT_TYPES[5],
    EVENT_TYPES[6],
)
#: Events that show interest, a click and what follows it: only these make history, counts and
#: positive labels. A type that is not named here does not.
INTEREST_EVENTS: tuple[EventType, ...] = EVENT_TYPES[1:6]
#: Events that the ranker is trained on: every exposure once, clicked or not.
EXPOSURE_EVENTS = (IMPRESSION, VIEW)

# --- NVTabular's Categorify: 0 padding, 1 null, 2 out-of-vocabulary, the vocabulary from 3 --------
PAD_INDEX, NULL_INDEX, OOV_INDEX, VOCABULARY_START = 0, 1, 2, 3
AGE_BOUNDARIES = (18, 25, 35, 50, 65)
TYPICAL_AGE = 32.0  # years; replaces the mean age if no age is known

# --- transformed columns, in the order in which they are packed into matrices ---------------------
AGE_BINNED, AGE_NORM = "age_binned", "age_norm"
USER_FREQUENCY, USER_RECENCY, USER_FREQUENCY_LOOK_BACK = (
    "user_frequency",
    "user_recency",
    "user_frequency_look_back",
)
CATEGORY_SHARE_LOOK_BACK, CATEGORY_SHARE_24H = "category_share_look_back", "category_share_24h"
CATEGORY_FREQUENCY_LOOK_BACK, CATEGORY_FREQUENCY_24H = (
    "category_frequency_look_back",
    "category_frequency_24h",
)
PRICE_LOG_NORM, ITEM_POPULARITY = "price_log_norm", "item_popularity"
HOUR_SIN, HOUR_COS, WEEKDAY_SIN, WEEKDAY_COS = "hour_sin", "hour_cos", "weekday_sin", "weekday_cos"
TEXT_EMBEDDING, IMAGE_EMBEDDING = "text_embedding", "image_embedding"
#: The halves of a click history, as shares of the visitor's clicks.
HISTORY_LOOK_BACK, HISTORY_24H = "history_look_back", "history_24h"
EMBEDDING_DIM = 64  # width of each pretrained embedding after PCA, and of the towers' vectors

USER_CATEGORICAL = (USER_ID, GENDER, TOP_CATEGORY, AGE_BINNED)
USER_CONTINUOUS = (AGE_NORM, USER_FREQUENCY, USER_RECENCY, USER_FREQUENCY_LOOK_BACK)
CONTEXT_CATEGORICAL = (DEVICE_TYPE,)
CONTEXT_CONTINUOUS = (HOUR_SIN, HOUR_COS, WEEKDAY_SIN, WEEKDAY_COS)
ITEM_CATEGORICAL = (ITEM_ID, CATEGORY_L1, CATEGORY_L2, ITEM_GENDER)
ITEM_CONTINUOUS = (PRICE_LOG_NORM,)
#: Per visitor and item: the visitor's clicks in the item's category.
AFFINITY_CONTINUOUS = (
    CATEGORY_SHARE_LOOK_BACK,
    CATEGORY_SHARE_24H,
    CATEGORY_FREQUENCY_LOOK_BACK,
    CATEGORY_FREQUENCY_24H,
)

#: Query tower input: cat int32 [B, 5], cont float32 [B, 8], history float32 [B, 2·K]. The history
#: holds the visitor's clicks per category_l1 index (K = its size): of the look-back days, then of
#: 24 hours.
#: A query tower of items takes further: items int32 [B, 50], age_hours float32 [B, 50].
QUERY_OF_ITEMS = ("items", "age_hours")
QUERY_CATEGORICAL = USER_CATEGORICAL + CONTEXT_CATEGORICAL
QUERY_CONTINUOUS = USER_CONTINUOUS + CONTEXT_CONTINUOUS
#: Ranker input: cat int32 [N, 9], cont float32 [N, 14], embeddings float32 [N, 128] (text, then
#: image). Only the ranker reads popularity and affinity: they change daily or per visitor, and the
#: item tower's vectors do not.
RANKER_CATEGORICAL = QUERY_CATEGORICAL + ITEM_CATEGORICAL
CANDIDATE_CONTINUOUS = (*ITEM_CONTINUOUS, ITEM_POPULARITY, *AFFINITY_CONTINUOUS)
RANKER_CONTINUOUS = QUERY_CONTINUOUS + CANDIDATE_CONTINUOUS

# --- table schemas: column → Polars type name -----------------------------------------------------
RAW_INTERACTIONS = {
    EVENT_ID: "String",
    USER_ID: "String",
    ITEM_ID: "String",
    TIMESTAMP: "Int64",  # unix seconds, UTC
    DEVICE_TYPE: "String",
    EVENT_TYPE: "String",
    CLICK: "Int8",
}
#: RAW_INTERACTIONS as ``raw/interactions`` keeps them. In a landed file, ARRIVED is optional.
ARRIVED_INTERACTIONS = {
    **RAW_INTERACTIONS,
    ARRIVED: "Int64",  # unix seconds, UTC, at least TIMESTAMP: when the shop's system had the event
}
#: Columns that a landed file of interactions may lack.
OPTIONAL_INTERACTIONS = {
    ARRIVED: ARRIVED_INTERACTIONS[ARRIVED],
    REQUEST_ID: "String",  # of the answer that showed the item; null: not known
}
RAW_USERS = {USER_ID: "String", AGE: "Int32", GENDER: "String"}
RAW_ITEMS = {
    ITEM_ID: "String",
    "uuid": "String",
    "name": "String",
    "description": "String",
    CATEGORY_L1: "String",
    CATEGORY_L2: "String",
    PRICE: "Float64",  # null: the shop gave none
    ITEM_GENDER: "String",
    "promoted": "Boolean",
    "image": "String",  # file name in the catalogue's image folder; empty if there is none
}
#: One row per exposure, with features as of just before it.
INTERACTION_FEATURES = {
    EVENT_ID: "String",
    USER_ID: "String",
    ITEM_ID: "String",
    TIMESTAMP: "Int64",
    DEVICE_TYPE: "String",
    CLICK: "Int8",
    AGE: "Float32",  # null: unknown or masked; replaced by the mean of the training window
    GENDER: "String",
    TOP_CATEGORY: "String",
    CATEGORY_L1: "String",
    CATEGORY_L2: "String",
    ITEM_GENDER: "String",
    PRICE: "Float64",  # null: the shop gave none; replaced by the mean after normalisation
    CLICKS_24H: "Float32",  # the visitor's clicks in the 24 hours before the event
    HOURS_SINCE_CLICK: "Float32",  # hours from the last click to the event; else RECENT_HOURS
    ITEM_CLICKS: "Float32",  # the item's clicks on the day before the event's day
    CLICKS_LOOK_BACK: "Float32",  # the visitor's clicks in the look_back_days before the event
    CATEGORY_CLICKS_LOOK_BACK: "Float32",  # CLICKS_LOOK_BACK in the item's category_l1
    CATEGORY_CLICKS_24H: "Float32",  # CLICKS_24H in the item's category_l1
}
RECENT_HOURS = 24
#: Look-back of features and releases that were made before it was a setting.
OLDER_LOOK_BACK_DAYS = 7
