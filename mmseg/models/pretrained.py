"""How every encoder gets its `pretrained` weights: read without running code, whole or not at all.

MMSegmentation's encoders turn `pretrained=…` into mmcv's initialiser `Pretrained`. mmcv's own
downloads the file and unpickles whatever is in it, then passes over names that differ. This one
takes its place, and the place of mmcv's loaders for encoders that call them by themselves
(Swin, ViT, BEiT, MAE; what of a file fits is up to these).
"""

import logging

from mmcv.cnn.utils.weight_init import INITIALIZERS
from mmcv.runner import CheckpointLoader

from mmseg.utils.weight_address import local_file
from mmseg.utils.weight_file import read_file, read_weights, require_fit

# What a file may hold beyond the encoder: the classifiers of torchvision, ResNeSt, timm, mmcls.
CLASSIFIERS = ('fc.', 'classifier.', 'head.')
# What a file may lack: counters, which files older than BatchNorm's own counter do not have.
COUNTER = 'num_batches_tracked'


@INITIALIZERS.register_module(name='Pretrained', force=True)
class StrictPretrained:
    """`init_cfg=dict(type='Pretrained', ...)`.

    Args:
        checkpoint: a local file or an address (see `weight_address`).
        prefix: take only names that begin so, e.g. 'backbone.' of a whole segmentor's file.
        map_location: accepted as mmcv's; weights go where the module is.
    """

    def __init__(self, checkpoint, prefix=None, map_location=None):
        self.checkpoint = checkpoint
        # These files hold a classifier with its encoder at this name.
        self.prefix = prefix or ('backbone.' if checkpoint.startswith('mmcls://') else '')

    def __call__(self, module):
        """Loads the file into `module`.

        Raises:
            UserError: it cannot be had or read, or does not fit.
        """
        given = read_weights(local_file(self.checkpoint))
        wanted = module.state_dict()
        given = {
            name.removeprefix(self.prefix): value
            for name, value in given.items()
            if name.startswith(self.prefix)
        }
        left_over = [n for n in given if n not in wanted and n.startswith(CLASSIFIERS)]
        given = {name: value for name, value in given.items() if name not in left_over}
        counters = {name: value for name, value in wanted.items() if name.endswith(COUNTER)}
        given = {**counters, **given}
        require_fit(type(module).__name__, wanted, given, self.checkpoint)
        module.load_state_dict(given)
        logging.getLogger('mmseg').info('%s: loaded %s', type(module).__name__, self.checkpoint)


@CheckpointLoader.register_scheme(
    prefixes=['', 'http://', 'https://', 'modelzoo://', 'torchvision://', 'open-mmlab://',
              'openmmlab://', 'mmcls://'],
    force=True,
)  # fmt: skip
def load_from_file_or_address(filename, map_location=None):
    """mmcv's loader of all checkpoints; tensors come to the CPU."""
    return read_file(local_file(filename))
