"""Labelled pictures: measure how good the checkpoint and the file are on them, and compare the two."""
