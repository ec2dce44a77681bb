"""Everything that builds a PyTorch model for export: families, the heads of tasks, and what they share."""
