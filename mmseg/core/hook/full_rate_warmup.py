"""A learning rate that reaches its full value at the end of its warmup, then falls."""

from mmcv.runner import HOOKS
from mmcv.runner.hooks.lr_updater import PolyLrUpdaterHook

from mmseg.utils.user_error import UserError


@HOOKS.register_module()
class FullRateWarmupLrUpdaterHook(PolyLrUpdaterHook):
    """mmcv's 'poly' with VFM-UDA's warmup: linear from `warmup_ratio` to 1 of the base rate.

    mmcv's warmup is of the rate that has begun to fall, so that it ends below 1. Here the rate
    drops after the last warmup iteration: by 1500 / 40000 as published.

    Args:
        warmup_iters (int): Iterations; the last of them has the full rate.
        warmup (str): 'linear'; there is no other.
        **kwargs: `power` and `min_lr` of mmcv's 'poly'.
    """

    def __init__(self, warmup_iters, warmup='linear', warmup_ratio=1e-3, **kwargs):
        if warmup != 'linear':
            raise UserError(f"lr_config.warmup is {warmup!r}; FullRateWarmup has only 'linear'")
        super().__init__(
            warmup=warmup, warmup_iters=warmup_iters, warmup_ratio=warmup_ratio, **kwargs
        )

    def get_warmup_lr(self, cur_iters):
        """Return the rate of each group in an iteration of the warmup."""
        progress = cur_iters / max(1, self.warmup_iters - 1)
        factor = self.warmup_ratio + (1 - self.warmup_ratio) * progress
        return [rate * factor for rate in self.base_lr]
