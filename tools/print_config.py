"""Show the config that a run gets, or how two differ: ``python tools/print_config.py``."""

import argparse
import json
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from daformer_runs.same_run import differences
from mmseg.engine.config import Config, as_dict, parse_options
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.given_config import read_config


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Print a config with bases and options resolved, or its differences.',
        epilog='example: python tools/print_config.py configs/street_scenes/uda_mitb0.py '
        '--key data.train --cfg-options data.samples_per_gpu=4',
    )
    add = parser.add_argument
    add('config', help="a config (.py, .json), a run's folder, or a checkpoint with its config")
    add('--key', help='only this part, e.g. data.train or model.decode_head')
    output = parser.add_mutually_exclusive_group()
    output.add_argument('--json', action='store_true', help='print JSON instead of Python')
    output.add_argument('--diff', metavar='OTHER', help='list what OTHER has in its place')
    add('--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries of CONFIG')
    return parser.parse_args(argv)


@reports_user_errors
def main(argv=None):
    """Print the config or the differences; returns what was printed."""
    args = parse_args(argv)
    cfg = read_config(args.config, parse_options(args.cfg_options))
    # Python keeps the tuples that JSON lacks and MMSegmentation wants, such as `img_scale`.
    as_json = args.json or args.diff
    part = _part(as_dict(cfg) if as_json else cfg._cfg_dict.to_dict(), args.key, args.config)
    if args.diff:
        other = _part(as_dict(read_config(args.diff)), args.key, args.diff)
        found = differences(part, other)
        lines = [f'{key}: {first!r} -> {second!r}' for key, (first, second) in found.items()]
        text = '\n'.join([f'{args.config} -> {args.diff}', *lines])
        text = text if found else f'{args.config} and {args.diff} are equal.'
    else:
        text = json.dumps(part, indent=2) if args.json else _as_python(part, args.key)
    print(text)
    return text


def _part(config, key, name):
    """The entry of a nested config under a dotted key."""
    part = config
    for step in key.split('.') if key else []:
        try:
            part = part[int(step)] if isinstance(part, list | tuple) else part[step]
        except (LookupError, ValueError, TypeError):
            known = f': there is {", ".join(part)}' if isinstance(part, dict) else ''
            raise UserError(f'{name} has no {key}{known}.') from None
    return part


def _as_python(part, key):
    """A part as a config file states it; a single value after its dotted key."""
    name = (key or '').rpartition('.')[2]
    if isinstance(part, list) and name.isidentifier():
        part = {name: part}
    return Config(part).pretty_text.rstrip() if isinstance(part, dict) else f'{key} = {part!r}'


if __name__ == '__main__':
    main()
