"""Files of lower precision: int8 by ONNX Runtime's quantizer, fp16 and bf16 through the module itself."""
