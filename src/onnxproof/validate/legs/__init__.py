"""The ways to run a model, one file each."""
