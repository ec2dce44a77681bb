"""torchvision's detectors in their inference wrappers."""
