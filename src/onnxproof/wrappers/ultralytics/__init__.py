"""The parts of the family ultralytics: what a checkpoint says of its network, and the network's outputs."""
