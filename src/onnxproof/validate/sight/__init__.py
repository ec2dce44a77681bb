"""The link ``pipeline``: whether a picture ends in the same decisions as in the framework."""
