"""Compare one ONNX file, B, with another, A, on the cases that a checkpoint's file is tried on.

There are three rules. With the checkpoint, A and B are both judged as ``validate`` judges a file, by PyTorch
in float64 and float32; only PyTorch gives the candidates before NMS and the proposals. Without the
checkpoint, A takes PyTorch's place: its graph in float64 is the oracle. Without torch, graphs are not
evaluated in float64; then A runs twice (legs/moved_weights.py).

- ``contract.py``: what A declares, and what is assumed of it.
- ``beside.py``: what every comparison does: open both files, compare their interfaces and metadata.
- ``alone.py``: the rule without torch, which imports none. ``linked.py``: the other two.
"""
