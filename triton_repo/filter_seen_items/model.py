"""Run the stage ``filter_seen_items`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("filter_seen_items")
