"""What a request may ask for at most."""

MOST_THREADS = 1024
"""Threads that PyTorch and ONNX Runtime are asked for at most. They start them all, and each takes memory."""
