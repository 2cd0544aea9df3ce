"""Runs of an experiment side by side: on one machine's devices, or as jobs of a cluster."""
