"""Classes of tokens, compared token by token as those of a sequence's steps are."""

from onnxproof.validate.compare.sequence import StepComparer

COMPARER = StepComparer()
