"""One run's configuration: the files of configs/_base_ that it builds on, and what it sets."""

import copy
import os
from dataclasses import dataclass
from pathlib import Path

from tools.run_parts import ARCHITECTURES, DATASETS, ENCODERS, SHORT_NAMES, Method, look_up

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'

LEARNING_RATE = 6e-05
BATCH_SIZE = 2
N_GPUS = 1
ITERATIONS = 40000
START_UP_TEST_ITERATIONS = 2


@dataclass(frozen=True)
class Run:
    """What distinguishes a run from all others; tools/run_parts.py says what the names mean.

    Args:
        source, target: the data sets.
        architecture, encoder: the network.
        method: the way of training.
        schedule: a file of _base_/schedules, of the learning rate.
        seed: the random seed.
        start_up_test: two quiet iterations, to see that it starts, instead of the whole run.
    """

    source: str
    target: str
    architecture: str
    encoder: str
    method: Method
    schedule: str
    seed: int
    start_up_test: bool = False


def model_part(run):
    """Returns the model's base file and its settings."""
    encoder = look_up(ENCODERS, run.encoder, 'encoder')
    architecture = look_up(ARCHITECTURES, run.architecture, 'architecture')
    if encoder.family not in architecture.files:
        fitting = [name for name, e in ENCODERS.items() if e.family in architecture.files]
        raise ValueError(
            f'the architecture {run.architecture} does not go with the encoder {run.encoder}; '
            f'it goes with: {", ".join(fitting)}'
        )
    model = {'pretrained': encoder.pretrained, 'backbone': copy.deepcopy(encoder.backbone)}
    if architecture.decode_head:
        model['decode_head'] = copy.deepcopy(architecture.decode_head)
    if architecture.neck:
        model['neck'] = copy.deepcopy(architecture.neck)
    return f'_base_/models/{architecture.files[encoder.family]}.py', model


def data_part(run):
    """Returns the data's base file and its settings."""
    files = look_up(DATASETS, (run.source, run.target), 'pair of data sets')
    kind = run.method.uda if run.method.supervised else 'uda'
    file = look_up(files, kind, f'way of training on {run.source}2{run.target},')
    data = {'samples_per_gpu': BATCH_SIZE, 'workers_per_gpu': 4}
    if run.method.rcs is not None:
        data['train'] = {
            'rare_class_sampling': {
                'min_pixels': 3000,
                'class_temp': run.method.rcs,
                'min_crop_ratio': 0.5,
            }
        }
    return f'_base_/datasets/{file}.py', data


def optimizer_part(run):
    """Returns the optimizer's settings: ten times the rate for the head, which starts anew."""
    custom_keys = {'head': {'lr_mult': 10.0}}
    if ENCODERS[run.encoder].family != 'cnn':
        custom_keys.update(pos_block={'decay_mult': 0.0}, norm={'decay_mult': 0.0})
    return {'lr': LEARNING_RATE, 'paramwise_cfg': {'custom_keys': custom_keys}}


def schedule_part(run):
    """Returns the settings of the loop: its length, what it saves, when it evaluates."""
    iterations = START_UP_TEST_ITERATIONS if run.start_up_test else ITERATIONS
    evaluation_interval = 100 if run.start_up_test else iterations // 10  # 100 = never
    part = {
        'runner': {'type': 'IterBasedRunner', 'max_iters': iterations},
        'checkpoint_config': {'by_epoch': False, 'interval': iterations, 'max_keep_ckpts': 1},
        'evaluation': {'interval': evaluation_interval, 'metric': 'mIoU'},
    }
    if run.start_up_test:
        part['log_level'] = 'ERROR'
    return part


def meta_part(run, experiment, iterations):
    """Returns what names the run: in its work_dir, in tables, in plots."""
    dataset, network = f'{run.source}2{run.target}', f'{run.architecture}_{run.encoder}'
    name = f'{dataset}_{run.method.name}_{network}_{run.schedule}_s{run.seed}'.replace('.', '')
    for long, short in SHORT_NAMES.items():
        name = name.replace(long, short)
    return {
        'name': name,
        'exp': experiment,
        'name_dataset': dataset,
        'name_architecture': network,
        'name_encoder': run.encoder,
        'name_decoder': run.architecture,
        'name_uda': run.method.name,
        'name_opt': f'adamw_{LEARNING_RATE}_pmTrue_{run.schedule}_{N_GPUS}x{BATCH_SIZE}_'
        f'{iterations // 1000}k',
    }


def run_config(run, experiment):
    """Returns a run's configuration.

    Args:
        run: the `Run`.
        experiment: the ID that it belongs to.

    Returns:
        A plain dict that can be written as JSON. The files in its `_base_` are relative to the
        folder configs; see `with_bases_from`.

    Raises:
        ValueError: a part does not exist, or parts do not go together; lists what there is.
    """
    model_file, model = model_part(run)
    data_file, data = data_part(run)
    loop = schedule_part(run)
    bases = ['_base_/default_runtime.py', model_file, data_file]
    config = {'seed': run.seed, 'n_gpus': N_GPUS, 'model': model, 'data': data}
    if not run.method.supervised:
        bases.append(f'_base_/uda/{run.method.uda}.py')
        config['uda'] = {}
        if run.method.cpl:
            # Rows of a Cityscapes image without a class: what rectification leaves, and the hood.
            config['uda'] = {'pseudo_weight_ignore_top': 15, 'pseudo_weight_ignore_bottom': 120}
    bases += ['_base_/schedules/adamw.py', f'_base_/schedules/{run.schedule}.py']
    return {
        '_base_': bases,
        **config,
        'optimizer': optimizer_part(run),
        **loop,
        **meta_part(run, experiment, loop['runner']['max_iters']),
    }


def with_bases_from(config, folder):
    """Returns the configuration as a file in `folder` must have it: `_base_` relative to there."""
    bases = [Path(os.path.relpath(CONFIGS / base, folder)).as_posix() for base in config['_base_']]
    return {**config, '_base_': bases}
