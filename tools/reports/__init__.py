"""The parts of a run's report; tools/report.py puts them together."""
