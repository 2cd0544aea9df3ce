# Target-only at half size, under the name that the successors of DAFormer give it.
_base_ = 'cityscapes_half_512x512.py'
