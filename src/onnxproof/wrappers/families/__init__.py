"""The model families. Each is one file, and is found by the file's name."""
