"""Run the stage ``feast_user_lookup`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("feast_user_lookup")
