"""Train one config: ``python tools/train.py CONFIG``. run_experiments.py calls this, too."""

import argparse
import contextlib
import json
import os
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import torch

from mmseg.engine.allocator import keep_freed_memory
from mmseg.engine.checkpoint import is_finished, saved_checkpoints
from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.code_archive import archive_code
from mmseg.engine.config import as_dict, load_config, parse_options
from mmseg.engine.distributed import check_is_launched, joined_processes, rank_0_first
from mmseg.engine.lock import locked
from mmseg.engine.preflight import check_files
from mmseg.engine.train import train
from mmseg.utils.collective import get_dist_info
from mmseg.utils.files import refusing_to_write, remove_parts, write_text
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.runs import config_of
from tools.same_run import compare_to_resume, describe

# Options that are keys of the config, too.
_OPTIONS = (
    *('work_dir', 'resume_from', 'load_from', 'load_from_without_classifier'),
    *('seed', 'deterministic'),
)


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Train one config. The same command again resumes an interrupted run.',
        epilog='example: python tools/train.py configs/street_scenes/uda_mitb0.py '
        '--work-dir work_dirs/try --cfg-options runner.max_iters=100   '
        'On 4 GPUs: torchrun --nproc_per_node=4 tools/train.py CONFIG',
    )
    parser.add_argument('config', help='a Python or JSON config file')
    parser.add_argument('--work-dir', help='folder of the run (default: work_dirs/CONFIG NAME)')
    parser.add_argument('--resume-from', metavar='FILE', help='go on from this checkpoint')
    parser.add_argument('--load-from', metavar='FILE', help='start the student from these weights')
    parser.add_argument(
        '--load-from-without-classifier', action='store_true', default=None,
        help='leave the classifiers of --load-from out: it is of other classes',
    )  # fmt: skip
    parser.add_argument('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    parser.add_argument('--seed', type=int, help="replaces the config's seed")
    parser.add_argument(
        '--deterministic', action='store_true', default=None,
        help='on a GPU: the same tensors every time, more slowly (on the CPU they always are)',
    )  # fmt: skip
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE',
        help='replace entries of the config, e.g. runner.max_iters=100',
    )  # fmt: skip
    return parser.parse_args(argv)


def overrides_of(args):
    """The dotted config entries that the options replace."""
    overrides = parse_options(args.cfg_options)
    for key in _OPTIONS:
        if getattr(args, key) is not None:
            overrides[key] = getattr(args, key)
    return overrides


@reports_user_errors
def main(argv=None):
    """Train; returns normally at the end of the run, exits with 128 + signal if stopped."""
    args = parse_args(argv)
    changes = ''
    with joined_processes(args.device) as device, contextlib.ExitStack() as stack:
        keep_freed_memory(device)
        with rank_0_first() as is_rank_0:
            cfg = _read_config(args)
            if is_rank_0:
                check_keys(cfg, args.config)
                check_values(cfg, args.config)
                check_is_launched(cfg, args.config)
                check_files(cfg)
                stack.enter_context(locked(cfg.work_dir))
                with refusing_to_write(cfg.work_dir):
                    changes = _prepare(cfg, args.config)
        with refusing_to_write(cfg.work_dir):
            signal = _train(cfg, device, changes)
    if signal is not None:
        if is_rank_0:
            print(f'Stopped by signal {signal}. The same command goes on from here.')
        sys.exit(128 + signal)


def _read_config(args):
    cfg = load_config(args.config, overrides_of(args))
    if cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    return cfg


def _prepare(cfg, given):
    """Prepare the run's folder; returns what has changed since its last start, in words."""
    if is_finished(cfg.work_dir, cfg.runner.max_iters):
        _check_same_run(cfg, given)
        return ''
    changes = _leave_config(cfg, given)
    remove_parts(cfg.work_dir)
    archive_code(cfg.work_dir, again=not saved_checkpoints(cfg.work_dir))
    return changes


def _train(cfg, device, changes):
    if is_finished(cfg.work_dir, cfg.runner.max_iters):
        if get_dist_info()[0] == 0:
            print(f'This run is finished: {cfg.work_dir}')
        return None
    try:
        return train(cfg, device, changes)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f'the memory of {device} is full ({str(error).splitlines()[0]}). Free the device, or '
            'set model.backbone.with_cp=True or speed.accumulate higher, and give the same command '
            'again to resume. A smaller data.samples_per_gpu or crop makes another run.'
        ) from error


def _check_same_run(cfg, given):
    """Compare a config with that of the run in its folder, if there is one.

    Args:
        cfg (mmcv.Config): Of the command.
        given (str): The file that it was read from.

    Returns:
        tuple[mmcv.Config, str] | None: The run's config, and what has changed, in words.

    Raises:
        UserError: It is of another run, which has checkpoints, or nobody can say.
    """
    path, checkpoints = config_of(cfg.work_dir), saved_checkpoints(cfg.work_dir)
    if path is None and checkpoints:
        raise UserError(
            f'{cfg.work_dir} holds {checkpoints[0]}, but not the config of its run (NAME.json, in '
            'which "name" is NAME). Choose another --work-dir, or restore that file.'
        )
    if path is None:
        return None
    there = load_config(path)
    differences, changes = compare_to_resume(as_dict(there), as_dict(cfg))
    if not differences:
        return there, describe(changes)
    if checkpoints or osp.samefile(path, given):
        raise UserError(
            f'{cfg.work_dir} holds a run with other settings ({path}): {describe(differences)}. '
            'Choose another --work-dir, or delete that run.'
        )
    os.remove(path)  # nothing is lost with it
    return None


def _leave_config(cfg, given):
    """Put the resolved config into the run's folder, where tests and resumes look for it.

    A run keeps its name, and from its first checkpoint on the revision of the code and the batch
    that it began with: the number of processes and the images of each, which belong together.
    """
    found = _check_same_run(cfg, given)
    content, changes = as_dict(cfg), ''
    if found is not None:
        there, changes = found
        cfg.name = content['name'] = there.name
        if saved_checkpoints(cfg.work_dir):
            began = {key: there[key] for key in ('git_rev', 'n_gpus') if key in there}
            content.update(began)
            if 'n_gpus' in began:
                content['data']['samples_per_gpu'] = there.data.samples_per_gpu
            cfg.git_rev = content.get('git_rev', '')
    path = osp.join(cfg.work_dir, f'{cfg.name}.json')
    if found is None and osp.exists(path):
        raise UserError(f'{path} is there and no config of a run: choose another --work-dir.')
    write_text(path, json.dumps(content, indent=2) + '\n')
    return changes


if __name__ == '__main__':
    main()
