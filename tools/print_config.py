"""Show the config that a run gets, or in what two differ: ``python tools/print_config.py``."""

import argparse
import json
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from mmseg.engine.config import Config, as_dict, parse_options
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.given_config import read_config
from tools.same_run import MISSING, differences


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Print a config with its bases and options resolved, as a run gets it, or with '
        '--diff what another one has in its place.',
        epilog='example: python tools/print_config.py configs/street_scenes/uda_mitb0.py '
        '--key data.train --cfg-options data.samples_per_gpu=4',
    )
    parser.add_argument(
        'config', help="a Python or JSON config, a run's folder, or a checkpoint with its config"
    )
    parser.add_argument('--key', help='only this part, e.g. data.train or model.decode_head')
    parser.add_argument('--json', action='store_true', help='as JSON, not as Python')
    parser.add_argument(
        '--diff', metavar='OTHER', help='what this one has in its place, as dotted keys'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries of CONFIG'
    )
    return parser.parse_args(argv)


@reports_user_errors
def main(argv=None):
    """Print the config or the differences; returns what was printed."""
    args = parse_args(argv)
    cfg = read_config(args.config, parse_options(args.cfg_options))
    if args.diff:
        text = _differences_text(args, as_dict(cfg), as_dict(read_config(args.diff)))
    elif args.json:
        text = json.dumps(_part(as_dict(cfg), args.key, args.config), indent=2)
    else:
        # With its tuples, which JSON has not and MMSegmentation wants: `img_scale`.
        text = _as_python(_part(cfg._cfg_dict.to_dict(), args.key, args.config), args.key)
    print(text)
    return text


def _part(config, key, name):
    part = config
    for position, step in enumerate(key.split('.') if key else []):
        if isinstance(part, list | tuple) and step.isdecimal() and int(step) < len(part):
            part = part[int(step)]
        elif isinstance(part, dict) and step in part:
            part = part[step]
        else:
            place = '.'.join(key.split('.')[:position]) or 'its top level'
            known = part if isinstance(part, dict) else ()
            if isinstance(part, list | tuple):
                known = range(len(part))
            raise UserError(
                f'{name} has no {key}; at {place} there is {", ".join(map(str, known)) or "none"}.'
            )
    return part


def _as_python(part, key):
    """As a config file would say it; a single value after its dotted key."""
    if isinstance(part, dict):
        return Config(part).pretty_text.rstrip()
    name = key.rsplit('.', 1)[-1]
    if isinstance(part, list) and name.isidentifier():
        return Config({name: part}).pretty_text.rstrip()
    return f'{key} = {part!r}'


def _differences_text(args, one, other):
    found = differences(_part(one, args.key, args.config), _part(other, args.key, args.diff))
    if args.json:
        entries = [
            {'key': key}
            | {
                name: value
                for name, value in zip(('config', 'other'), values, strict=True)
                if value is not MISSING
            }
            for key, values in found.items()
        ]
        return json.dumps(entries, indent=2)
    if not found:
        return f'{args.config} and {args.diff} are equal.'
    lines = [f'{key}: {first!r} -> {second!r}' for key, (first, second) in found.items()]
    return '\n'.join([f'{args.config} -> {args.diff}', *lines])


if __name__ == '__main__':
    main()
