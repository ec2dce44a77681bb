"""What an ONNX graph computes if floats do not round: the same graph, evaluated in float64.

Float constants are taken over exactly and every operation is done in double. The difference of two graphs on
one input is then what they differ in as functions, free of float32's error. ONNX Runtime cannot do this: it
has no Conv in double, for example.

- ``graph.py``: ``ExactGraph``, the face of this package.
- ``load.py``: constants, widened; files with external data.
- ``compiler.py``, ``block.py``: a graph as a list of steps, and the loop that runs them.
- ``witness.py``: whether a node that raised is at fault, or its implementation.
- ``registry.py``, ``operators/``: the operators, by name, domain and opset.
- ``reference.py``: ``onnx.reference`` and the function bodies of ONNX's schemas, for rare operators.
- ``constants.py``: what the file's constants were rounded from, proven against the checkpoint. ``record.py``
  collects what is known of it (``known.py``); ``pieces.py``, ``folds.py`` and ``scalars.py`` match.

What rounds all the same: a Cast to float16, bfloat16 or float8, because it is part of what the graph says.
A Cast to float32 does not. Between two casts to float16 nothing is rounded, so what a graph of float16
operators loses in each operator is not seen.
"""
