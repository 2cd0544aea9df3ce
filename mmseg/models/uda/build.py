"""Builds what is trained: a UDA method around a segmentor, or the segmentor alone."""

from mmseg.models.builder import SEGMENTORS, build_segmentor
from mmseg.models.uda.dacs import DACS


def build_train_model(cfg):
    """Build the model that ``cfg`` trains.

    Args:
        cfg (mmcv.Config): With ``uda`` a UDA method is built around ``model``.
    """
    if cfg.get('uda') is None:
        return build_segmentor(cfg.model)
    return SEGMENTORS.build({**cfg.uda, 'model': cfg.model})


def student_of(model):
    """The network that is trained, tested and reported: the model itself if nothing wraps it."""
    return model.model if isinstance(model, DACS) else model
