"""Run the stage ``dlrm_ranking`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("dlrm_ranking")
