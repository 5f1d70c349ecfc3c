"""Run the stage ``item_id_decoder`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("item_id_decoder")
