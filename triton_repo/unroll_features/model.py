"""Run the stage ``unroll_features`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("unroll_features")
