"""torch's side of a model: the families that build it, the heads of its tasks, and what they share."""
