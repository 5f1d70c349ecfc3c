"""Run the stage ``candidate_sources`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("candidate_sources")
