from recsys_assets.serving.triton.fused_model import fused_class

TritonPythonModel = fused_class()
