"""What the benchmark of many architectures (``zoo.py``) runs, keeps and tells."""
