"""Writes, opens and compares the ONNX exports."""
