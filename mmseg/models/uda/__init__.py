"""Methods of training: each wraps a segmentor and says which losses there are."""

from mmseg.models.builder import SEGMENTORS
from mmseg.models.uda.base import Supervised
from mmseg.models.uda.dacs import DACS

__all__ = ['DACS', 'Supervised', 'build_train_model']


def build_train_model(cfg):
    """Build the method that a config trains with: its ``uda``, or labels alone."""
    return SEGMENTORS.build({**(cfg.get('uda') or dict(type='Supervised')), 'model': cfg.model})
