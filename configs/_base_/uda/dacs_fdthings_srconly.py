# Training on the source alone, with the ImageNet feature distance on thing classes.
_base_ = ['dacs_fdthings.py']
uda = dict(source_only=True)
