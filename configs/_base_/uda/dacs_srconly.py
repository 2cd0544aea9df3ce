# The source losses of DACS alone, without teacher and mixed images.
_base_ = ['dacs.py']
uda = dict(source_only=True)
