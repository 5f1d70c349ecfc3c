"""Run the stage ``nvt_context_transform`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("nvt_context_transform")
