"""Architectures of other libraries: small, seeded, exported by us and without us."""
