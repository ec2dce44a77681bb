"""Compare an ONNX file with the PyTorch model that it was made from, and say whether it decides alike."""
