"""The steps of the spine. Only they and ``pipeline`` know both what exports and what validates."""
