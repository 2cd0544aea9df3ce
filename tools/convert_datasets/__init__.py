"""Converters of the data sets' own label formats to train ids and the class index."""
