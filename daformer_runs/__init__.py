"""The folders of runs and what makes two configs one run, for tools/ and mmseg/engine alike.

It stands outside mmseg, whose import takes seconds: states and results are shown at once.
"""
