"""Which node of an ONNX file introduces error, as against those that only pass it on."""
