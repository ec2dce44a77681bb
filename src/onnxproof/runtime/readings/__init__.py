"""How outputs are laid out and read: what the readings of several tasks share, and the layouts of boxes."""
