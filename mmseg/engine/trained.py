"""A trained segmentor from its config and checkpoint, ready to predict."""

from mmseg.datasets.builder import DATASETS
from mmseg.engine.checkpoint import load_file, load_segmentor, segmentor_weights
from mmseg.models import build_segmentor


def load_trained(cfg, path, device, which='student'):
    """Build the configured segmentor and load one network of a checkpoint into it.

    Args:
        cfg (mmcv.Config): Of the run; its ImageNet weights are not needed.
        path (str): The checkpoint.
        device (torch.device): Where to put it.
        which (str): ``'student'`` (what is reported) or ``'teacher'``.

    Returns:
        EncoderDecoder: In eval mode, with ``CLASSES`` and ``PALETTE``.

    Raises:
        UserError: If the file is not a checkpoint or does not fit.
    """
    content = load_file(path)
    model = cfg.model.copy()
    model.pretrained = None
    model.backbone = {**model.backbone, 'pretrained': None, 'init_cfg': None}
    segmentor = build_segmentor(model)
    load_segmentor(segmentor, segmentor_weights(content.get('state_dict', content), which), path)
    # Published checkpoints have no meta; the data set knows its classes, too.
    meta = content.get('meta', {})
    dataset = DATASETS.get(cfg.data.test.type)
    segmentor.CLASSES = meta.get('CLASSES', dataset.CLASSES)
    segmentor.PALETTE = meta.get('PALETTE', dataset.PALETTE)
    return segmentor.to(device).eval()
