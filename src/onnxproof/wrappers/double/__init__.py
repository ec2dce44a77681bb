"""Run a module in float64 although it asks for float32.

``module.double()`` is not enough for a module that makes float32 of its own: a grid, a table of anchors, a
``.float()`` between two layers. Here two modes are on while the module runs. One sees the calls that Python
makes (``calls.py``), the other the operations that PyTorch carries out (``operations.py``). Together they
answer every request for float32 with float64. The module does not notice: ``x.dtype`` is ``torch.float32``,
``torch.finfo(x.dtype)`` has float32's limits, and a branch on a dtype goes the same way.

float16 and bfloat16 are part of the function. A cast to one of them rounds to that dtype's values. Between
two casts every operation is done in float64, and nothing is rounded. If the module itself is held in one of
them, that dtype is to it what float32 is to others: a cast to it does not round.
"""
