"""Render a verdict; what it says was decided elsewhere."""
