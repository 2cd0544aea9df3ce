"""Methods of unsupervised domain adaptation: each wraps a segmentor and trains it."""

from mmseg.models.uda.dacs import DACS

__all__ = ['DACS']
