"""Make a file to hand on of a checkpoint's network: ``python tools/publish_model.py``."""

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
from mmseg.utils.files import moved_into_place
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.collect_results import short_name

# Where a run was, and what it began with: no file of another machine.
_OF_THE_MACHINE = ('work_dir', 'load_from', 'load_from_without_classifier', 'resume_from')
_ABSOLUTE_PATH = re.compile(r'"((?:/|~|[A-Za-z]:\\\\)[^"]+)"')


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Write the student (or the teacher) of a checkpoint alone, without optimizer, '
        'with its config and the names and colours of its classes. The file is called '
        'NAME-XXXXXXXX.pth after the first 8 digits of its SHA-256.',
        epilog='example: python tools/publish_model.py work_dirs/x/latest.pth --out models',
    )
    parser.add_argument('checkpoint', help="the run's checkpoint, e.g. latest.pth")
    parser.add_argument(
        '--out', required=True, metavar='DIR|FILE',
        help='a folder, for a file named after the run, or what ends in .pth or .safetensors; '
        'the digits come before the ending',
    )  # fmt: skip
    parser.add_argument(
        '--weights', choices=['student', 'teacher'], default='student',
        help='which network of the checkpoint (the student is what papers report)',
    )  # fmt: skip
    parser.add_argument(
        '--format', choices=['pth', 'safetensors'], help="default: FILE's ending, else pth"
    )
    parser.add_argument(
        '--config', help='where the checkpoint holds none, as those of the published code'
    )
    args = parser.parse_args(argv)
    ending = osp.splitext(args.out)[1][1:]
    named = ending if ending in ('pth', 'safetensors') else None
    if named and args.format not in (None, named):
        parser.error(f'--format {args.format} does not fit --out {args.out}')
    args.format = args.format or named or 'pth'
    args.out_is_file = named is not None
    return args


@reports_user_errors
def main(argv=None):
    """Write the file; returns its path."""
    args = parse_args(argv)
    cfg = load_config(args.config) if args.config else None
    segmentor = load_trained(cfg, args.checkpoint, torch.device('cpu'), args.weights)
    config = public_config(segmentor.cfg)
    content = file_content(segmentor, config, args.weights, args.format)
    digest = hashlib.sha256(content).hexdigest()
    path = _path(args, segmentor.cfg, digest)
    with moved_into_place(path) as file:
        file.write(content)
    print(f'{path}\n{len(content) / 1e6:.1f} MB\nSHA-256 {digest}')
    for place in sorted(set(_ABSOLUTE_PATH.findall(json.dumps(config)))):
        print(f'Note: the config in it names {place}')
    return path


def _path(args, cfg, digest):
    if args.out_is_file:
        stem = osp.splitext(args.out)[0]
    elif osp.isfile(args.out):
        raise UserError(f'--out {args.out} is a file; give a folder, or a name in .pth.')
    else:
        stem = osp.join(args.out, short_name(cfg.name))
    return f'{stem}-{digest[:8]}.{args.format}'


def public_config(cfg):
    """A config as a dict, without the places where its run was on its machine."""
    config = as_dict(cfg)
    # Published configs have a `work_dir` in `model.train_cfg`, too.
    for part in (config, config['model'].get('train_cfg') or {}):
        for key in _OF_THE_MACHINE:
            part.pop(key, None)
    return config


def file_content(segmentor, config, which, format_name):
    """What is written: the same bytes for the same network.

    Args:
        segmentor (EncoderDecoder): As ``load_trained`` returns it.
        config (dict): As JSON holds it.
        which (str): Which of a checkpoint's networks it is.
        format_name (str): 'pth', for ``torch.load(weights_only=True)``, or 'safetensors', which
            has the meta as JSON under ``meta`` of its metadata.

    Returns:
        bytes: A ``state_dict`` under a segmentor's own names, and a ``meta`` with ``config`` (as
        JSON), ``CLASSES``, ``PALETTE``, ``weights`` and ``iter`` (None: not known).
    """
    meta = dict(
        config=json.dumps(config),
        CLASSES=list(segmentor.CLASSES),
        PALETTE=[list(color) for color in segmentor.PALETTE],
        weights=which,
        iter=segmentor.iteration,
    )
    # Clones hold nothing but themselves, and share nothing.
    weights = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in segmentor.state_dict().items()
    }
    if format_name == 'safetensors':
        return save(weights, {'meta': json.dumps(meta)})
    file = io.BytesIO()
    torch.save(dict(meta=meta, state_dict=weights), file)
    return file.getvalue()


if __name__ == '__main__':
    main()
