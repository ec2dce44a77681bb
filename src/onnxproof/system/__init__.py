"""The machine and the interpreter: files, memory, signals, installed packages, and code of the user's."""
