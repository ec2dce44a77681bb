"""The inference wrappers of torchvision's detectors."""
