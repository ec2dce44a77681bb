"""The runtimes that a file can be tried in, and the table of what came of each.

- ``row.py``: ``RuntimeRow``, where a leg of a verdict ran, or why it did not.
- ``known.py``: the runtimes, each with the legs that it gives and what to install where it is absent.
- ``asked.py``: from the names that a user gives to legs: ``plan_runtimes`` before anything is opened, then
  ``opened``.

Nothing here imports torch or onnx, nor a runtime that nobody asked for.
"""
