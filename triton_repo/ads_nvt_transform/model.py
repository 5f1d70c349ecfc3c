"""Run the stage ``ads_nvt_transform`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("ads_nvt_transform")
