"""Run the stage ``faiss_retrieval`` in Triton."""

from recsys_assets.serving.triton.triton_model import model_class

TritonPythonModel = model_class("faiss_retrieval")
