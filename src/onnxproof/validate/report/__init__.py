"""Render a verdict, without deciding anything."""
