"""Keys of a config that nothing reads, found before iteration 0; `unread.py` is the way in."""
