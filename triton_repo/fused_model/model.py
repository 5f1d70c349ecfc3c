from recsys_assets.serving.fused_model import fused_class

TritonPythonModel = fused_class()
