"""Golden cases: a few inputs of a verdict, and what PyTorch answered to them in float64 and in float32.

With them a file is judged where there is neither PyTorch nor the checkpoint: its answers are compared with
the recorded ones, by the comparers and the limits of ``validate``. Nothing here imports torch or onnx.

- ``golden.py``: ``Golden``, the recorded cases as a value, and the trial that they make.
- ``choose.py``: which of a plan's cases are recorded, and what PyTorch erred on all of them.
- ``file.py``: golden cases as the bytes of ``golden.npz``, both ways.
- ``found.py``: the golden cases that lie in a bundle.
- ``held.py``: which golden cases a model was verified on, in its metadata.
- ``kit.py``, ``kit_readme.py``: golden cases as plain files for hosts that are not Python.
- ``returned.py``, ``exchanged.py``: what such a host answered, and answers in each other's place.
- ``checks.py``: the checks on what golden cases say beside numbers.
- ``judged.py``: what one leg did on golden cases. The leg may be any: a session, or answers from elsewhere.
"""
