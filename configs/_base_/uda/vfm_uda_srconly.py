# The source losses of VFM-UDA alone, with its weak augmentation of source images.
_base_ = ['vfm_uda.py']
uda = dict(source_only=True)
