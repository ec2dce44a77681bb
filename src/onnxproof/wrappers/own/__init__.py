"""How frameworks themselves get from a picture to decisions: what the link ``pipeline`` compares with."""
