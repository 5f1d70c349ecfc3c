"""Run the stage ``multimodal_embedding_lookup`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("multimodal_embedding_lookup")
