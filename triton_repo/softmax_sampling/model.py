"""Run the stage ``softmax_sampling`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("softmax_sampling")
