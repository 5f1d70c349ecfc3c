"""Run the stage ``nvt_user_transform`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("nvt_user_transform")
