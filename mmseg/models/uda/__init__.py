"""Methods of training: each wraps a segmentor and says which losses there are."""

from mmseg.models.uda.dacs import DACS
from mmseg.models.uda.supervised import Supervised

__all__ = ['DACS', 'Supervised']
