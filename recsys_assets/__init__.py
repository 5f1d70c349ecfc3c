"""A multistage, multimodal recommender platform as one Dagster asset graph.

Importing the package switches off the usage reports of third-party libraries, in this process and
its children, unless the environment sets these variables. onnxruntime, for example, sends reports
to its vendor since version 1.32 on Linux.
"""

import os as _os

for _name, _value in {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "FEAST_USAGE": "False",
    "DO_NOT_TRACK": "1",
}.items():
    _os.environ.setdefault(_name, _value)
