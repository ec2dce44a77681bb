"""How far rounding alone may part a kernel's output from the exact value, operator by operator.

A kernel in float32 is right if each of its numbers lies within such a bound of what its node says in exact
arithmetic on the same inputs. It may still be rougher than PyTorch's kernel.

- ``model.py``: the model of rounding: one operation, and a sum of n terms.
- ``registry.py``: the rules by operator, and ``allowances``, the face of this package.
- ``elementwise.py``, ``sums.py``, ``products.py``, ``normalization.py``, ``sampling.py``, ``recurrence.py``:
  the rules.

A rule returns what is allowed beyond one rounding of the exact value. An operator without a rule is held to
one rounding alone.
"""

from onnxproof.validate.bounds import elementwise, normalization, products, recurrence, sampling, sums
from onnxproof.validate.bounds.registry import Asked, allowances, has_rule

__all__ = ["ROOMS", "Asked", "allowances", "has_rule"]

ROOMS = (elementwise, normalization, products, recurrence, sampling, sums)
"""The modules of which the rules are registered when they are imported."""
