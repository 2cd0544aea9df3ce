"""Mistakes in a config that are found before iteration 0: keys (`unread.py`), then values."""
