"""Train one config (``--config FILE``) or all runs of an experiment of the paper (``--exp ID``).

Writes the generated config of each run below configs/generated/, trains it into work_dirs/ and
tests it on the target's validation set. The same command again resumes where it stopped.
"""

import argparse
import copy
from fnmatch import fnmatchcase

import tools.openmp  # noqa: F401

from experiments import STUDIES, generate_experiment_cfgs
from tools.command_line import add_config_options, exit_with
from tools.run_config import START_UP_TEST_ITERATIONS, crop_side

TARGET_WITH_LABELS = {
    'type': 'CityscapesDataset',
    'data_root': 'data/street_scenes/cityscapes/',
    'img_dir': 'leftImg8bit/train',
    'ann_dir': 'gtFine/train',
}
SMALL_CROP = 128  # the side of StreetScenes' crops
SMALLER_IMAGE = 2048 // 512  # the side of the target's images on disk to that of StreetScenes'
# An encoder of timm keeps its patches; 64 is the least that all heads take.
SMALL_ENCODERS = {
    'TimmViT': {'depth': 4, 'embed_dim': 64, 'num_heads': 4},
    'TimmEncoder': {'depths': [1, 1, 1, 1], 'dims': [32, 64, 96, 128]},  # ConvNeXt
}
SMALLEST_SIDE = 32  # of what MiT takes: its first stage pools 8 positions of stride 4
MIN_PIXELS = 10  # of a class in an image: even a handful of images has some of every class


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Train a config or an experiment. The same command again resumes it.',
        epilog='examples: python run_experiments.py --config configs/street_scenes/uda_mitb0.py   '
        'python run_experiments.py --exp 6 --only daformer_sepaspp --seeds 0 1',
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--config', metavar='FILE', help='config file to train')
    what.add_argument(
        '--exp', type=int, metavar='ID', help='train all runs of an experiment in experiments.py'
    )
    what.add_argument('--list', action='store_true', help='show all experiments with their runs')
    parser.add_argument('--dry-run', action='store_true', help='write configs, train nothing')
    parser.add_argument(
        '--only', metavar='PATTERN', help='of an experiment, runs whose name holds this (*, ?)'
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', metavar='SEED', help='of an experiment, these seeds'
    )
    parser.add_argument(
        '--debug', action='store_true', help='log, draw debug images and evaluate more often'
    )
    parser.add_argument(
        '--small', action='store_true',
        help='with --exp: two iterations on StreetScenes, to see that every run starts here',
    )  # fmt: skip
    parser.add_argument(
        '--machine', choices=('local', 'slurm'),
        help='where the runs of an experiment are trained: here (default), or on a SLURM cluster',
    )  # fmt: skip
    parser.add_argument(
        '--jobs', type=int, metavar='N',
        help='of an experiment on this machine, train N runs at a time, each on its own devices',
    )  # fmt: skip
    parser.add_argument(
        '--slurm', metavar='FILE', help='what to ask SLURM for (default: configs/slurm.yaml)'
    )
    parser.add_argument(
        '--status', action='store_true', help='show how far the runs of an experiment are'
    )
    parser.add_argument(
        '--new', action='store_true', help='start another run even if there is one of this config'
    )
    parser.add_argument(
        '--n-gpus', type=int, metavar='N', help='processes to train with, one per GPU'
    )
    add_config_options(parser)
    args = parser.parse_args(argv)
    of_config = 'work_dir load_from load_from_without_classifier seed cfg_options'
    for options, goes, with_what in (
        (of_config, args.config is not None, '--config'),
        ('only seeds', args.config is None, '--exp and --list'),
        ('small status machine jobs slurm', args.exp is not None, '--exp'),
        ('slurm', args.machine == 'slurm', '--machine slurm'),
        ('jobs', args.machine != 'slurm', '--machine local: a cluster has its own queue'),
    ):
        for option in options.split():
            value = getattr(args, option)
            if not goes and value is not None and value is not False:
                parser.error(f'--{option.replace("_", "-")} goes with {with_what}')
    if args.jobs is not None and args.jobs < 1:
        parser.error(f'--jobs {args.jobs}: at least one run at a time is needed')
    args.machine = args.machine or 'local'
    return args


def main(argv=None):
    """Train a config or the runs of an experiment, or show them."""
    args = parse_args(argv)
    if args.list:
        list_experiments(args)
        return
    configs = None
    if args.exp is not None:
        try:
            configs = select(generate_experiment_cfgs(args.exp), args)
            if not configs:
                raise ValueError(f'no run of experiment {args.exp} fits; --list shows all.')
        except ValueError as error:
            exit_with(error)
        if args.small:
            configs = [small_scale(config) for config in configs]
    if args.status:
        from tools.status import show_status

        show_status(f'{args.machine}-exp{configs[0]["exp"]}', configs)
        return
    # Importing mmseg takes seconds: only after the arguments are known to be good.
    from tools.launch import launch

    launch(args, configs)


def list_experiments(args):
    """Print every experiment with those of its runs that the options select."""
    for experiment, study in STUDIES.items():
        configs = select(generate_experiment_cfgs(experiment), args)
        if configs:
            runs = 'run' if len(configs) == 1 else 'runs'
            print(f'{experiment}: {study.title} ({len(configs)} {runs})')
            print(''.join(f'    {config["name"]}\n' for config in configs))


def select(configs, args):
    """Return the configs that ``--only`` and ``--seeds`` select."""
    return [
        config
        for config in configs
        if (args.only is None or fnmatchcase(config['name'], f'*{args.only}*'))
        and (args.seeds is None or config['seed'] in args.seeds)
    ]


def small_scale(config):
    """Return a run's configuration at small scale, under a name and an `exp` that say so."""
    train, uda = copy.deepcopy(config['data'].get('train', {})), config.get('uda')
    crop = crop_side(config['_base_'][2])
    smaller = crop // SMALL_CROP
    # What the network gets in training, and as a window in sliding inference.
    smallest = int(SMALLEST_SIDE / min(config['model'].get('scales', [1])))
    side = train.get('sync_crop_size', [crop])[0]
    small_side = max(side // smaller, smallest)
    if 'rare_class_sampling' in train:
        train['rare_class_sampling']['min_pixels'] = MIN_PIXELS
    if 'sync_crop_size' in train:
        train['sync_crop_size'] = [small_side, small_side]
    if 'target' in train:
        margins = train['target']['crop_pseudo_margins']
        train['target']['crop_pseudo_margins'] = [
            margin if isinstance(margin, float) else margin // SMALLER_IMAGE for margin in margins
        ]
    if config['name_uda'] == 'target-only':
        train = TARGET_WITH_LABELS
    bases = list(config['_base_'])  # runtime, model, data, …
    data_file = 'street_scenes_128x128' if uda is None else 'uda_street_scenes_128x128'
    if bases[2].startswith('_base_/datasets/dg_'):
        data_file = 'dg_street_scenes_128x128'
    bases[2] = f'_base_/datasets/{data_file}.py'
    iterations = START_UP_TEST_ITERATIONS
    # Gigabytes of optimizer state in every run would help nobody.
    checkpoints = {'interval': iterations, 'save_optimizer': False}
    small = {
        **config,
        '_base_': bases,
        'model': small_model(config['model'], side, small_side, smaller),
        # Starting four loaders would take longer than loading the few images.
        'data': {**config['data'], 'train': train, 'workers_per_gpu': 1},
        'runner': {**config['runner'], 'max_iters': iterations},
        'checkpoint_config': {**config['checkpoint_config'], **checkpoints},
        'evaluation': {**config['evaluation'], 'interval': iterations},
        'log_config': {'interval': 1},
        'name': f'small_{config["name"]}',
        'exp': f'{config["exp"]}-small',
        'name_dataset': 'street_scenes',
    }
    if uda is not None:
        rows = {key: rows // smaller for key, rows in uda.items() if '_ignore_' in key}
        small['uda'] = {**uda, **rows}
    if block := (uda or {}).get('mask_generator', {}).get('mask_block_size'):
        generator = {**uda['mask_generator'], 'mask_block_size': block // smaller}
        small['uda']['mask_generator'] = generator
    return small


def small_model(model, side, small_side, smaller):
    """Return a network's settings at small scale, where training's crops shrink to `small_side`."""
    size = SMALL_ENCODERS.get(model['backbone'].get('type'), {})
    small = {**model, 'pretrained': None, 'backbone': {**model['backbone'], **size}}
    if 'hr_crop_size' in model:
        detail = model['hr_crop_size'][0]
        detail = small_side if detail == side else max(detail // smaller, SMALLEST_SIDE)
        small['hr_crop_size'] = [detail, detail]
    if 'test_cfg' in model:
        windows = {'stride': [small_side // 2] * 2, 'crop_size': [small_side] * 2}
        small['test_cfg'] = {**model['test_cfg'], **windows}
    return small


if __name__ == '__main__':
    main()
