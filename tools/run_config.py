"""The configuration of an experiment's run, from names; without torch, so that it is instant."""

import copy
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'

# By the file of _base_/schedules. VFM-UDA: 5e-5 * sqrt(images in a batch).
LEARNING_RATES = {'adamw': 6e-05, 'sgd': 0.0025, 'vfm_uda': 1.414213562373095e-4}
BATCH_SIZE = 2
VFM_BATCHES = 4  # which make a step of VFM-UDA
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


def vit(size, tag, **backbone):
    """Return a plain ViT of timm with weights of timm; the settings are those of TimmViT."""
    backbone = {'_delete_': True, 'type': 'TimmViT', 'model_name': f'vit_{size}', **backbone}
    return Encoder('vit', f'timm://vit_{size}.{tag}', backbone)


def with_lora(encoder):
    """Return the encoder frozen but for adapters, whose options are VFMSeg's."""
    lora = {'type': 'LoRA', 'r': 32, 'dropout': 0.1}
    if encoder.family == 'timm':  # a ConvNeXt, which has no attention
        lora['targets'] = ['fc1', 'fc2']
    return replace(encoder, backbone={**encoder.backbone, 'adapt': lora})


RESNEXT = {'type': 'ResNeXt', 'groups': 32, 'base_width': 4}
RESNEST = {'type': 'ResNeSt', 'radix': 2, 'reduction_factor': 4, 'avg_down_stride': True}

# VFM-UDA's size inside, 1120 for 1024, and Meta's positions.
DINOV2 = {'inside_scale': 1.1, 'positions': 'meta'}
EVA02 = {'model_name': 'eva02_large_patch14_224', 'inside_scale': 1.1}
CONVNEXT = {'_delete_': True, 'type': 'TimmEncoder', 'model_name': 'convnext_base'}
FOUNDATION_ENCODERS = {
    'dinov2-b': vit('base_patch14_dinov2', 'lvd142m', **DINOV2),
    'dinov2-l': vit('large_patch14_dinov2', 'lvd142m', **DINOV2),
    'dinov3-b': vit('base_patch16_dinov3', 'lvd1689m'),
    'dinov3-l': vit('large_patch16_dinov3', 'lvd1689m'),
    'dinov3-convnext-b': Encoder('timm', 'timm://convnext_base.dinov3_lvd1689m', CONVNEXT),
    'eva02-l': Encoder(
        'vit',
        'timm://eva02_large_patch14_224.mim_m38m',
        {'_delete_': True, 'type': 'TimmViT', **EVA02},
    ),
}

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
    **FOUNDATION_ENCODERS,
    'mitb5-lora': with_lora(mit(5)),
    **{f'{name}-lora': with_lora(encoder) for name, encoder in FOUNDATION_ENCODERS.items()},
}


# LayerDecay knows the layers of timm's encoders alone. Of MiT-B5 with adapters nothing else trains.
NO_LAYERS = {'constructor': 'DefaultOptimizerConstructor'}
VFM_RATES = {
    'mitb5': {
        **NO_LAYERS,
        'paramwise_cfg': {'_delete_': True, 'custom_keys': {'backbone': {'lr_mult': 0.1}}},
    },
    'mitb5-lora': {**NO_LAYERS, 'paramwise_cfg': None},
}


@dataclass(frozen=True)
class Architecture:
    """A decoder: its file in _base_/models for each encoder family, and what changes in it."""

    files: dict
    decode_head: dict = field(default_factory=dict)
    neck: dict | None = None
    backbone: dict = field(default_factory=dict)


STYLES = {'concentration_coeff': 0.0156, 'base_style_num': 64}  # SHADE's
NO_DECODER_BN = {'norm_cfg': None}
VFM_LOSS = {'loss_decode': {'_delete_': True, 'type': 'VFMCrossEntropyLoss'}}
# Brings the last MiT map (512 channels, stride 32) to the stride 8 of the CNNs.
ADAPTER = {'type': 'SegFormerAdapter', 'out_layers': [3], 'scales': [4]}
NO_FINAL_NORM = {'norm': False}
# Pyramids for plain ViTs.
LEARNED = {'type': 'Feature2Pyramid', 'embed_dim': 'from_encoder'}
BILINEAR = {'type': 'BilinearPyramid'}

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
    # For VFM-UDA, whose loss and test windows these files have.
    'vfm': Architecture({'vit': 'vfm_vitb14'}),
    'vfmseg': Architecture({'vit': 'vfmseg_vitb14'}, VFM_LOSS, backbone=NO_FINAL_NORM),
    'vfm_pyramid-f2p': Architecture({'vit': 'vfm_pyramid_vitb14'}, backbone=NO_FINAL_NORM),
    'vfm_pyramid-bilinear': Architecture(
        {'vit': 'vfm_pyramid_vitb14'},
        neck={'_delete_': True, **BILINEAR},
        backbone=NO_FINAL_NORM,
    ),
    'daformer_vfm': Architecture(
        {
            **{'mit': 'daformer_vfm_mitb5', 'timm': 'daformer_vfm_convnextb'},
            'vit': 'daformer_vfm_vitb14',
        }
    ),
    'daformer_vfm-f2p': Architecture({'vit': 'daformer_vfm_vitb14'}, neck=LEARNED),
    'daformer_vfm-bilinear': Architecture({'vit': 'daformer_vfm_vitb14'}, neck=BILINEAR),
}


# HRDA is the architecture hrda1-{side of the detail crop}-{weight of its loss}[-option…]_{decoder}.
SINGLE_SCALE_HEADS = {'dlv2red': 'DLV2Head', 'daformer_sepaspp': 'DAFormerHead'}
# Settings of the network, and of its head.
HRDA_OPTIONS = {
    'fixedatt': ({}, {'fixed_attention': 0.5}),
    'singleatt': ({}, {'attention_classwise': False}),
    'nooverlap': ({'hr_slide_overlapping': False}, {}),
    'blurhr': ({'blur_hr_crop': True}, {}),
    'samescale': ({'scales': [1, 1], 'feature_scale': 1}, {}),
    'sc0.25': ({'scales': [1, 0.25], 'feature_scale': 0.25}, {}),
    'sc0.75': ({'scales': [1, 0.75], 'feature_scale': 0.75}, {}),
}

# Margins of pseudo-labels without weight, where a Cityscapes image has no class: what rectification
# leaves, and the hood. As rows of the crop, wherever it lies, or as margins of the image.
CROP_ROWS = {'cpl': {'pseudo_weight_ignore_top': 15, 'pseudo_weight_ignore_bottom': 120}}
# Top, bottom, left, right, in pixels or as fractions.
IMAGE_MARGINS = {'cpl2': [30, 240, 30, 30], 'cplr': [0.03, 0.25, 0.03, 0.03]}
# Which images MIC masks: all target or all source images, or one of each; a: colour-augmented.
MASK_MODES = {
    'spt': 'separatetrg', 'sps': 'separatesrc', 'sep': 'separate',
    'spta': 'separatetrgaug', 'spsa': 'separatesrcaug', 'spa': 'separateaug',
}  # fmt: skip


@dataclass(frozen=True)
class Masking:
    """How MIC masks images; what is 'same' is as for the pseudo-labels of the mixed images."""

    block: float | str  # the side of a block in pixels, or 'token' for those of a plain ViT
    ratio: float  # of blocks or tokens that are masked
    images: str  # a name of MASK_MODES
    alpha: float | str = 'same'
    threshold: float | str | None = 'same'

    @property
    def name(self):
        alpha = '' if self.alpha == 'same' else f'a{self.alpha}-'
        threshold = '' if self.threshold == 'same' else f'p{self.threshold}-'
        return f'_m{self.block}-{self.ratio}-{alpha}{threshold}{self.images}'

    @property
    def settings(self):
        """The keys of `uda`."""
        generator = {'type': 'token', 'mask_ratio': self.ratio}
        if self.block != 'token':
            generator = {**generator, 'type': 'block', 'mask_block_size': self.block}
        own = {'mask_alpha': self.alpha, 'mask_pseudo_threshold': self.threshold}
        return {
            'mask_mode': look_up(MASK_MODES, self.images, 'mask mode'),
            'mask_lambda': 1,
            'mask_generator': generator,
            **{key: value for key, value in own.items() if value != 'same'},
        }


@dataclass(frozen=True)
class Method:
    """A way of training."""

    uda: str  # a file of _base_/uda, or 'source-only' or 'target-only', which are supervised
    rcs: float | None = None  # temperature of rare class sampling
    min_crop: float = 0.5  # its min_crop_ratio
    crop_tries: int | None = None
    sync_crop: int | None = None  # side of the box that is cut from source and target at last
    cpl: str | None = None  # a name of CROP_ROWS or IMAGE_MARGINS
    masking: Masking | None = None
    generalises: bool = False  # trains without a target
    shade: bool = False  # style hallucination
    optimizer: str = 'adamw'

    @property
    def supervised(self):
        return self.uda in ('source-only', 'target-only')

    @property
    def name(self):
        rcs = '' if self.rcs is None else f'_rcs{self.rcs}'
        min_crop = '' if self.min_crop == 0.5 else f'-{self.min_crop}'
        tries = f'-t{self.crop_tries}' if self.crop_tries else ''
        sync_crop = f'_sf{self.sync_crop}x{self.sync_crop}' if self.sync_crop else ''
        cpl = f'_{self.cpl}' if self.cpl else ''
        masking = self.masking.name if self.masking else ''
        start, end = 'dg' if self.generalises else '', '_shade_shb' if self.shade else ''
        return start + self.uda + rcs + min_crop + tries + sync_crop + cpl + masking + end


# Source and target, with the crop if it is not 512x512 → the file of _base_/datasets for each kind
# of training.
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
    'cityscapes2cityscapes': {'uda': 'uda_cityscapes_to_cityscapes_512x512'},
    'gtaCAug2cityscapes': {
        'uda': 'uda_gtaCAug_to_cityscapes_512x512',
        'dg': 'dg_gtaCAug_512x512',
    },
    **{
        f'{source}HR2{target}HR_1024x1024': {'uda': f'uda_{source}HR_to_{target}HR_1024x1024'}
        for source, target in (
            *(('gta', 'cityscapes'), ('synthia', 'cityscapes')),
            *(('cityscapes', 'acdc'), ('cityscapes', 'darkzurich')),
        )
    },
    'gtaCAugHR2cityscapesHR_1024x1024': {
        'uda': 'uda_gtaCAugHR_to_cityscapesHR_1024x1024',
        'dg': 'dg_gtaCAugHR_1024x1024',
    },
    # VFM-UDA's, normalised as with ImageNet or as with CLIP.
    'gtaVFM2cityscapesVFM_1024x1024': {'uda': 'uda_gta_to_cityscapes_vfm_1024x1024'},
    'gtaCLIP2cityscapesCLIP_1024x1024': {'uda': 'uda_gta_to_cityscapes_vfm_clip_1024x1024'},
    '2cityscapes': {'target-only': 'cityscapes_512x512'},
    '2cityscapesHR': {'target-only': 'cityscapesHR_512x512'},
    **{
        f'2{data}': {'target-only': data}
        for data in (
            *('cityscapes_128x128', 'cityscapes_256x256', 'cityscapes_384x384'),
            *('cityscapesHR_256x256', 'cityscapesHR_768x768'),
        )
    },
}
SHORT_NAMES = {
    **{'cityscapes': 'cs', 'synthia': 'syn', 'darkzurich': 'dzur'},
    **{'.': '', 'None': 'N', 'False': 'F'},
}


def look_up(table, name, what):
    """Return the entry; raise a ValueError with the list of what exists if there is none."""
    if name not in table:
        raise ValueError(f'unknown {what} {name}; there are: {", ".join(map(str, table))}')
    return table[name]


@dataclass(frozen=True)
class Run:
    """What distinguishes a run from all others, by the names above."""

    dataset: str
    architecture: str  # [HRDA_]DECODER[_sl]: _sl tests in sliding windows of the training's size
    encoder: str
    method: Method
    schedule: str  # a file of _base_/schedules
    seed: int
    workers: int = 4
    start_up_test: bool = False  # two quiet iterations instead of the whole run


def run_config(run, experiment):
    """Return a run's configuration, a plain dict, with `_base_` relative to configs/."""
    data_file, data = data_part(run)
    model_file, model = model_part(run, crop_side(data_file))
    loop = schedule_part(run)
    bases = ['_base_/default_runtime.py', model_file, data_file]
    config = {'seed': run.seed, 'n_gpus': 1, 'model': model, 'data': data}
    if not run.method.supervised:
        shade = '_shade' if run.method.shade else ''
        bases.append(f'_base_/uda/{run.method.uda}{shade}.py')
        masking = run.method.masking.settings if run.method.masking else {}
        config['uda'] = {**CROP_ROWS.get(run.method.cpl, {}), **masking}
    schedules = dict.fromkeys((run.method.optimizer, run.schedule))  # VFM-UDA's is one file
    bases += [f'_base_/schedules/{name}.py' for name in schedules]
    if run.method.optimizer == 'vfm_uda':
        config['speed'] = {'accumulate': VFM_BATCHES, 'amp': 'bf16'}
    names = name_part(run, experiment, loop['runner']['max_iters'])
    return {'_base_': bases, **config, 'optimizer': optimizer_part(run), **loop, **names}


def with_bases_from(config, folder):
    """Return the configuration as a file in `folder` must have it: `_base_` relative to there."""
    bases = [Path(os.path.relpath(CONFIGS / base, folder)).as_posix() for base in config['_base_']]
    return {**config, '_base_': bases}


def crop_side(data_file):
    """Return the side of a data file's crops, which its name ends with."""
    return int(Path(data_file).stem.rpartition('x')[2])


def model_part(run, crop):
    """Return the model's base file and its settings; `crop` is the side of the data's crops."""
    hrda, decoder, slides = split_architecture(run.architecture)
    encoder = look_up(ENCODERS, run.encoder, 'encoder')
    architecture = look_up(ARCHITECTURES, decoder, 'architecture')
    if encoder.family not in architecture.files:
        fitting = {name: e for name, e in ENCODERS.items() if e.family in architecture.files}
        look_up(fitting, run.encoder, f'encoder for {decoder}:')
    backbone = {**encoder.backbone, **architecture.backbone}
    if run.method.masking and run.method.masking.block == 'token':
        backbone['mask_token'] = True
    if run.method.shade:
        backbone['style_hallucination_cfg'] = STYLES
    model, head = {'pretrained': encoder.pretrained, 'backbone': backbone}, {}
    side = run.method.sync_crop or crop
    if hrda:
        network, head = hrda_part(hrda, decoder, side, has_distance='_fd' in run.method.uda)
        model.update(network)
    if architecture.decode_head or head:
        model['decode_head'] = {**architecture.decode_head, **head}
    if architecture.neck:
        model['neck'] = architecture.neck
    if slides:
        model['test_cfg'] = {
            'mode': 'slide',
            # HRDA alone reads it. 105 windows of a large image would take much memory.
            'batched_slide': not (side == 256 and 'HR' in run.dataset),
            'stride': [side // 2, side // 2],
            'crop_size': [side, side],
        }
    return f'_base_/models/{architecture.files[encoder.family]}.py', copy.deepcopy(model)


def split_architecture(name):
    """Return HRDA's detail crop, weight and options (if any), the decoder, whether it slides."""
    hrda, decoder = name.split('_', 1) if name.startswith('hrda1-') else ('', name)
    return hrda.split('-')[1:], decoder.removesuffix('_sl'), decoder.endswith('_sl')


def hrda_part(hrda, decoder, context, has_distance):
    """Return what HRDA changes in the network, and in its head; `context` is that crop's side."""
    detail, weight = int(hrda[0]), float(hrda[1])
    network = {
        'type': 'HRDAEncoderDecoder',
        'scales': [1, 0.5],
        'hr_crop_size': [detail, detail],
        'crop_coord_divisible': 8,
        'feature_scale': 0.5,
    }
    single_scale = look_up(SINGLE_SCALE_HEADS, decoder, 'decoder for HRDA:')
    head = {'type': 'HRDAHead', 'single_scale_head': single_scale, 'hr_loss_weight': weight}
    for option in hrda[2:]:
        of_network, of_head = look_up(HRDA_OPTIONS, option, 'option of HRDA')
        network.update(of_network)
        head.update(of_head)
    if detail == context:
        head['lr_loss_weight'] = weight
        if has_distance:
            network['feature_scale'] = 'all'
    return network, head


def data_part(run):
    """Return the data's base file and its settings."""
    method = run.method
    files = look_up(DATASETS, run.dataset, 'pair of data sets')
    kind = method.uda if method.supervised else 'dg' if method.generalises else 'uda'
    file = look_up(files, kind, f'way of training on {run.dataset},')
    train = {}
    if method.rcs is not None:
        ratio = method.min_crop
        sampling = {'min_pixels': 3000, 'class_temp': method.rcs, 'min_crop_ratio': ratio}
        if method.crop_tries is not None:
            sampling['crop_tries'] = method.crop_tries
        train['rare_class_sampling'] = sampling
    if method.sync_crop is not None:
        train['sync_crop_size'] = [method.sync_crop, method.sync_crop]
    if method.cpl in IMAGE_MARGINS:
        train['target'] = {'crop_pseudo_margins': list(IMAGE_MARGINS[method.cpl])}
    data = {'samples_per_gpu': batch_size(run), 'workers_per_gpu': run.workers}
    return f'_base_/datasets/{file}.py', {**data, 'train': train} if train else data


def batch_size(run):
    """Return the images of each domain in a step."""
    return BATCH_SIZE * (VFM_BATCHES if run.method.optimizer == 'vfm_uda' else 1)


def optimizer_part(run):
    """Return the optimizer's settings: ten times the rate for the head, which starts anew.

    Earlier methods, with SGD, have one rate.
    """
    rate = {'lr': LEARNING_RATES[run.method.optimizer]}
    if run.method.optimizer == 'vfm_uda':
        return {**rate, **VFM_RATES.get(run.encoder, {})}
    if run.method.optimizer == 'sgd':
        return rate
    custom_keys = {'head': {'lr_mult': 10.0}}
    if ENCODERS[run.encoder].family != 'cnn':
        custom_keys.update(pos_block={'decay_mult': 0.0}, norm={'decay_mult': 0.0})
    return {**rate, 'paramwise_cfg': {'custom_keys': custom_keys}}


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
    optimizer = run.method.optimizer
    network = f'{run.architecture}_{run.encoder}'
    rates = f'{optimizer}_{LEARNING_RATES[optimizer]}_pm{optimizer == "adamw"}'
    if optimizer == run.schedule:  # one file, whose rates depend on the layer
        rates = f'adamw_{LEARNING_RATES[optimizer]:.2e}'
    unusual = '' if optimizer in ('adamw', run.schedule) else f'_{rates}'
    name = f'{run.dataset}_{run.method.name}_{network}_{run.schedule}{unusual}_s{run.seed}'
    for long, short in SHORT_NAMES.items():
        name = name.replace(long, short)
    return {
        'name': name,
        'exp': experiment,
        'name_dataset': run.dataset,
        'name_architecture': network,
        'name_encoder': run.encoder,
        'name_decoder': run.architecture,
        'name_uda': run.method.name,
        'name_opt': f'{rates}_{run.schedule}_1x{batch_size(run)}_{iterations // 1000}k',
    }
