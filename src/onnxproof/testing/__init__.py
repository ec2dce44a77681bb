"""onnxproof in a run of pytest: job files as tests, and the fixture ``onnx_parity``."""
