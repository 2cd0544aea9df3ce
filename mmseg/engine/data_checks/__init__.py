"""Problems of data sets that are found before iteration 0; `datasets.py` is the way in."""
