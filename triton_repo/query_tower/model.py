"""Run the stage ``query_tower`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("query_tower")
