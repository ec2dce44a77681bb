"""Labelled pictures: how good the checkpoint and the file are on them, and whether that differs."""
