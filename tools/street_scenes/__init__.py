"""Procedural street scenes with exact labels: a small data set that the project can draw itself."""
