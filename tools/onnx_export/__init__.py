"""The ONNX graph that tools/export.py writes, and its check."""
