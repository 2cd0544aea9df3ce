"""Builds what is trained: a method around a segmentor."""

from mmseg.models.builder import SEGMENTORS


def build_train_model(cfg):
    """Build the method that a config trains with: its ``uda``, or labels alone.

    Args:
        cfg (mmcv.Config): Of the run.

    Returns:
        UDAMethod: Around ``cfg.model``.
    """
    return SEGMENTORS.build({**(cfg.get('uda') or dict(type='Supervised')), 'model': cfg.model})
