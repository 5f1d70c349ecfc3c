"""Run the stage ``context_preprocessor`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("context_preprocessor")
