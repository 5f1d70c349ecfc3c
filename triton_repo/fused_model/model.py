"""Run all stages in one Triton model."""

from recsys_assets.serving.triton.fused_model import fused_class

TritonPythonModel = fused_class()
