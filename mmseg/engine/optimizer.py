"""The optimizer of a run, with few parameter groups."""

from mmseg.core import build_optimizer


def build_grouped_optimizer(segmentor, cfg):
    """Build the optimizer over a segmentor, with one group for all weights of the same options.

    mmcv makes a group of each single weight where ``paramwise_cfg`` is used: 1086 for DAFormer on
    MiT-B5, of 3 kinds. torch's optimizers compute group by group, so its fused and foreach forms
    would have nothing to put together. The steps are the same.

    Args:
        segmentor (nn.Module): What is trained.
        cfg (dict): ``optimizer`` of the config.
    """
    optimizer = build_optimizer(segmentor, cfg)
    groups = {}
    for group in optimizer.param_groups:
        options = {key: value for key, value in group.items() if key != 'params'}
        alike = groups.setdefault(repr(sorted(options.items())), {'params': [], **options})
        alike['params'] += group['params']
    optimizer.param_groups = list(groups.values())
    return optimizer
