"""Publish the network of a checkpoint as one file: ``python tools/publish_model.py``."""

import argparse
import hashlib
import io
import json
import os.path as osp
import re
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import torch
from safetensors.torch import save

from mmseg.engine.config import as_dict, load_config
from mmseg.engine.trained import load_trained
from mmseg.utils.files import atomic_write
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.collect_results import short_name

_PATHS_OF_RUN = ('work_dir', 'load_from', 'load_from_without_classifier', 'resume_from')
_ABSOLUTE_PATH = re.compile(r'"((?:/|~|[A-Za-z]:\\\\)[^"]+)"')


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Write the student (or the teacher) of a checkpoint alone, with its config and '
        'classes, to NAME-XXXXXXXX.pth, whose digits are the first of its SHA-256.',
        epilog='example: python tools/publish_model.py work_dirs/x/latest.pth --out models',
    )
    add = parser.add_argument
    add('checkpoint', help="the run's checkpoint, e.g. latest.pth")
    add('--out', required=True, metavar='DIR|FILE', help='a folder, or NAME.pth, NAME.safetensors')
    add('--weights', choices=['student', 'teacher'], default='student', help='which network')
    add('--merge', action='store_true', help="put the encoder's adapter into its weights")
    add('--config', help='where the checkpoint holds none, as those of the published code')
    return parser.parse_args(argv)


@reports_user_errors
def main(argv=None):
    """Write the file; returns its path."""
    args = parse_args(argv)
    cfg = load_config(args.config) if args.config else None
    segmentor = load_trained(cfg, args.checkpoint, torch.device('cpu'), args.weights)
    config = public_config(segmentor.cfg)
    if args.merge:
        merge_adapter(segmentor, config)
    stem, ending = osp.splitext(args.out)
    if ending not in ('.pth', '.safetensors'):
        stem, ending = osp.join(args.out, short_name(segmentor.cfg.name)), '.pth'
    content = file_content(segmentor, config, args.weights, ending)
    digest = hashlib.sha256(content).hexdigest()
    path = f'{stem}-{digest[:8]}{ending}'
    with atomic_write(path) as file:
        file.write(content)
    print(f'{path}\n{len(content) / 1e6:.1f} MB\nSHA-256 {digest}')
    for place in sorted(set(_ABSOLUTE_PATH.findall(json.dumps(config)))):
        print(f'Note: the config in it names {place}')
    return path


def public_config(cfg):
    """A config as a dict, without the paths of its run."""
    config = as_dict(cfg)
    # Published configs have a `work_dir` in `model.train_cfg`, too.
    for part in (config, config['model'].get('train_cfg') or {}):
        for key in _PATHS_OF_RUN:
            part.pop(key, None)
    return config


def merge_adapter(segmentor, config):
    """Put the encoder's adapter into its weights, and take it out of the config."""
    if getattr(segmentor.backbone, 'adapter', None) is None:
        raise UserError('the encoder has no adapter: there is nothing to merge, leave out --merge')
    segmentor.backbone.merge_adapter()
    del config['model']['backbone']['adapt']


def file_content(segmentor, config, which, ending):
    """The bytes of a published file: weights and ``meta``, the same for the same network."""
    meta = dict(
        config=json.dumps(config),
        CLASSES=list(segmentor.CLASSES),
        PALETTE=[list(color) for color in segmentor.PALETTE],
        weights=which,
        iter=segmentor.iteration,
    )
    # torch.save writes the whole storage of a tensor; that of a clone holds nothing else.
    weights = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in segmentor.state_dict().items()
    }
    if ending == '.safetensors':
        return save(weights, {'meta': json.dumps(meta)})
    file = io.BytesIO()
    torch.save(dict(meta=meta, state_dict=weights), file)
    return file.getvalue()


if __name__ == '__main__':
    main()
