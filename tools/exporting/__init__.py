"""What tools/export.py is put together from."""
