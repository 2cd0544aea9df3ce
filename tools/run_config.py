"""The configuration of an experiment's run, from names; without torch, so that it is instant."""

import copy
import os
from dataclasses import dataclass, field
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'

LEARNING_RATE = 6e-05
BATCH_SIZE = 2
ITERATIONS = 40000
START_UP_TEST_ITERATIONS = 2


@dataclass(frozen=True)
class Encoder:
    """An encoder: its family (what it can be combined with), weights and backbone settings."""

    family: str
    pretrained: str
    backbone: dict


def cnn(weights, **backbone):
    """Return a CNN at output stride 8; the settings change those of the base's ResNet."""
    return Encoder('cnn', f'open-mmlab://{weights}', backbone)


def mit(size, family='mit', **backbone):
    """Return MiT-B0 to B5."""
    return Encoder(family, f'pretrained/mit_b{size}.pth', {**backbone, 'type': f'mit_b{size}'})


RESNEXT = {'type': 'ResNeXt', 'groups': 32, 'base_width': 4}
RESNEST = {'type': 'ResNeSt', 'radix': 2, 'reduction_factor': 4, 'avg_down_stride': True}

ENCODERS = {
    'r50v1c': cnn('resnet50_v1c', depth=50),
    'r101v1c': cnn('resnet101_v1c', depth=101),
    'x50-32': cnn('resnext50_32x4d', **RESNEXT, depth=50),
    'x101-32': cnn('resnext101_32x4d', **RESNEXT, depth=101),
    's50': cnn('resnest50', **RESNEST, depth=50, stem_channels=64),
    's101': cnn('resnest101', **RESNEST, depth=101, stem_channels=128),
    's200': cnn('resnest200', **RESNEST, depth=200, stem_channels=128),
    **{f'mitb{size}': mit(size) for size in range(6)},
    # In place of a CNN, whose backbone settings they replace whole.
    **{f'mitb{size}-del': mit(size, 'mit-del', _delete_=True) for size in range(6)},
}


@dataclass(frozen=True)
class Architecture:
    """A decoder: its file in _base_/models for each encoder family, and what changes in it."""

    files: dict
    decode_head: dict = field(default_factory=dict)
    neck: dict | None = None


NO_DECODER_BN = {'norm_cfg': None}
# Brings the last MiT map (512 channels, stride 32) to the stride 8 of the CNNs.
ADAPTER = {'type': 'SegFormerAdapter', 'out_layers': [3], 'scales': [4]}

ARCHITECTURES = {
    'dlv2red': Architecture({'cnn': 'deeplabv2red_r50-d8'}),
    'da_nodbn': Architecture({'cnn': 'danet_r50-d8'}, NO_DECODER_BN),
    'isa_nodbn': Architecture({'cnn': 'isanet_r50-d8'}, NO_DECODER_BN),
    'dlv3p_nodbn': Architecture({'cnn': 'deeplabv3plus_r50-d8'}, NO_DECODER_BN),
    'sfa_dlv3p_nodbn': Architecture(
        {'mit-del': 'deeplabv3plus_r50-d8'},
        {**NO_DECODER_BN, 'in_channels': 512, 'c1_in_channels': 64},
        ADAPTER,
    ),
    'segformer': Architecture({'mit': 'segformer_b5', 'cnn': 'segformer_r101'}),
    'upernet': Architecture({'mit': 'upernet_mit'}),
    'upernet_ch256': Architecture({'mit': 'upernet_ch256_mit'}),
    'daformer_conv1': Architecture({'mit': 'daformer_conv1_mitb5'}),
    'daformer_isa': Architecture({'mit': 'daformer_isa_mitb5'}),
    'daformer_sepaspp_bottleneck': Architecture({'mit': 'daformer_sepaspp_bottleneck_mitb5'}),
    'daformer_aspp': Architecture({'mit': 'daformer_aspp_mitb5'}),
    'daformer_sepaspp': Architecture({'mit': 'daformer_sepaspp_mitb5'}),
}


@dataclass(frozen=True)
class Method:
    """A way of training."""

    uda: str  # a file of _base_/uda, or 'source-only' or 'target-only', which are supervised
    rcs: float | None = None  # temperature of rare class sampling
    cpl: bool = False  # whether pseudo-labels get no weight at the top and bottom of the image

    @property
    def supervised(self):
        return self.uda in ('source-only', 'target-only')

    @property
    def name(self):
        rcs = '' if self.rcs is None else f'_rcs{self.rcs}'
        return self.uda + rcs + ('_cpl' if self.cpl else '')


# Source and target → the file of _base_/datasets for each kind of training.
DATASETS = {
    'gta2cityscapes': {
        'uda': 'uda_gta_to_cityscapes_512x512',
        'source-only': 'gta_to_cityscapes_512x512',
        'target-only': 'cityscapes_half_512x512',
    },
    'synthia2cityscapes': {
        'uda': 'uda_synthia_to_cityscapes_512x512',
        'target-only': 'cityscapes_half_512x512',
    },
    'cityscapes2acdc': {'uda': 'uda_cityscapes_to_acdc_512x512'},
    'cityscapes2darkzurich': {'uda': 'uda_cityscapes_to_darkzurich_512x512'},
}
SHORT_NAMES = {'cityscapes': 'cs', 'synthia': 'syn', 'darkzurich': 'dzur'}


def look_up(table, name, what):
    """Return the entry; raise a ValueError with the list of what exists if there is none."""
    if name not in table:
        raise ValueError(f'unknown {what} {name}; there are: {", ".join(map(str, table))}')
    return table[name]


@dataclass(frozen=True)
class Run:
    """What distinguishes a run from all others, by the names above."""

    source: str
    target: str
    architecture: str
    encoder: str
    method: Method
    schedule: str  # a file of _base_/schedules
    seed: int
    start_up_test: bool = False  # two quiet iterations instead of the whole run


def run_config(run, experiment):
    """Return a run's configuration, a plain dict, with `_base_` relative to configs/."""
    model_file, model = model_part(run)
    data_file, data = data_part(run)
    loop = schedule_part(run)
    bases = ['_base_/default_runtime.py', model_file, data_file]
    config = {'seed': run.seed, 'n_gpus': 1, 'model': model, 'data': data}
    if not run.method.supervised:
        bases.append(f'_base_/uda/{run.method.uda}.py')
        # Rows of a Cityscapes image without a class: what rectification leaves, and the hood.
        rows = {'pseudo_weight_ignore_top': 15, 'pseudo_weight_ignore_bottom': 120}
        config['uda'] = rows if run.method.cpl else {}
    bases += ['_base_/schedules/adamw.py', f'_base_/schedules/{run.schedule}.py']
    names = name_part(run, experiment, loop['runner']['max_iters'])
    return {'_base_': bases, **config, 'optimizer': optimizer_part(run), **loop, **names}


def with_bases_from(config, folder):
    """Return the configuration as a file in `folder` must have it: `_base_` relative to there."""
    bases = [Path(os.path.relpath(CONFIGS / base, folder)).as_posix() for base in config['_base_']]
    return {**config, '_base_': bases}


def model_part(run):
    """Return the model's base file and its settings."""
    encoder = look_up(ENCODERS, run.encoder, 'encoder')
    architecture = look_up(ARCHITECTURES, run.architecture, 'architecture')
    if encoder.family not in architecture.files:
        fitting = {name: e for name, e in ENCODERS.items() if e.family in architecture.files}
        look_up(fitting, run.encoder, f'encoder for {run.architecture}:')
    model = {'pretrained': encoder.pretrained, 'backbone': encoder.backbone}
    if architecture.decode_head:
        model['decode_head'] = architecture.decode_head
    if architecture.neck:
        model['neck'] = architecture.neck
    return f'_base_/models/{architecture.files[encoder.family]}.py', copy.deepcopy(model)


def data_part(run):
    """Return the data's base file and its settings."""
    pair = f'{run.source}2{run.target}'
    files = look_up(DATASETS, pair, 'pair of data sets')
    kind = run.method.uda if run.method.supervised else 'uda'
    file = look_up(files, kind, f'way of training on {pair},')
    data = {'samples_per_gpu': BATCH_SIZE, 'workers_per_gpu': 4}
    if run.method.rcs is not None:
        sampling = {'min_pixels': 3000, 'class_temp': run.method.rcs, 'min_crop_ratio': 0.5}
        data['train'] = {'rare_class_sampling': sampling}
    return f'_base_/datasets/{file}.py', data


def optimizer_part(run):
    """Return the optimizer's settings: ten times the rate for the head, which starts anew."""
    custom_keys = {'head': {'lr_mult': 10.0}}
    if ENCODERS[run.encoder].family != 'cnn':
        custom_keys.update(pos_block={'decay_mult': 0.0}, norm={'decay_mult': 0.0})
    return {'lr': LEARNING_RATE, 'paramwise_cfg': {'custom_keys': custom_keys}}


def schedule_part(run):
    """Return the settings of the loop: its length, what it saves, when it evaluates."""
    iterations = START_UP_TEST_ITERATIONS if run.start_up_test else ITERATIONS
    evaluation_interval = 100 if run.start_up_test else iterations // 10  # 100 = never
    return {
        'runner': {'type': 'IterBasedRunner', 'max_iters': iterations},
        'checkpoint_config': {'by_epoch': False, 'interval': iterations, 'max_keep_ckpts': 1},
        'evaluation': {'interval': evaluation_interval, 'metric': 'mIoU'},
        **({'log_level': 'ERROR'} if run.start_up_test else {}),
    }


def name_part(run, experiment, iterations):
    """Return what names the run: in its work_dir, in tables, in plots."""
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
        'name_opt': f'adamw_{LEARNING_RATE}_pmTrue_{run.schedule}_1x{BATCH_SIZE}_'
        f'{iterations // 1000}k',
    }
