"""``python -m onnxproof``."""

from onnxproof.cli import program

program()
