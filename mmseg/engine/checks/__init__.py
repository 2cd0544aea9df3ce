"""Checks of configs and data sets before iteration 0."""
