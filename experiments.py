"""The papers' experiments, to be read beside their tables; tools/run_config.py has the names.

Those from 200 on, with foundation encoders, are of no paper.
"""

from dataclasses import dataclass, replace
from functools import partial

from tools.run_config import Masking, Method, Run, look_up, run_config

GTA, SYNTHIA = 'gta2cityscapes', 'synthia2cityscapes'
ACDC, DARK_ZURICH = 'cityscapes2acdc', 'cityscapes2darkzurich'
GTA_HR, SYNTHIA_HR = 'gtaHR2cityscapesHR_1024x1024', 'synthiaHR2cityscapesHR_1024x1024'
ACDC_HR = 'cityscapesHR2acdcHR_1024x1024'
DARK_ZURICH_HR = 'cityscapesHR2darkzurichHR_1024x1024'
# With photometric distortion of the source.
GTA_CAUG, GTA_CAUG_HR = 'gtaCAug2cityscapes', 'gtaCAugHR2cityscapesHR_1024x1024'

SOURCE_ONLY = Method('source-only')
TARGET_ONLY = Method('target-only')
DACS = Method('dacs')
FULL = Method('dacs_a999_fdthings', rcs=0.01, cpl='cpl')
# One after the other, as in table 5.
COMPONENTS = [
    Method('dacs', rcs=float('inf')),  # uniform classes
    Method('dacs', rcs=0.01),
    Method('dacs_fd'),
    Method('dacs_fdthings'),
    Method('dacs_fdthings', rcs=0.01),
    FULL,
]
# HRDA's: margins follow the crop; at full resolution a class has four times the pixels.
FULL_2 = replace(FULL, cpl='cpl2')
FULL_HR = replace(FULL_2, min_crop=2.0)
FULL_HR_NO_MARGINS = replace(FULL_HR, cpl=None)
# Domain generalisation with SHADE.
DG = Method('dacs_fdthings_srconly', rcs=0.01, generalises=True, shade=True)
ADVSEG, MINENT = Method('advseg', optimizer='sgd'), Method('minent', optimizer='sgd')


def cut(method, *sides):
    """Return the method with each of the sides of `sync_crop`."""
    return [replace(method, sync_crop=side) for side in sides]


def mic(method, block, ratio, images, **own):
    """Return the method with masked images."""
    return replace(method, masking=Masking(block, ratio, images, **own))


# VFM-UDA's. Encoders without tokens mask blocks, those of VFM-UDA++.
GTA_VFM, GTA_CLIP = 'gtaVFM2cityscapesVFM_1024x1024', 'gtaCLIP2cityscapesCLIP_1024x1024'
VFM_SOURCE_ONLY = Method(
    'vfm_uda_srconly', rcs=0.05, min_crop=2.0, crop_tries=20, cpl='cplr', optimizer='vfm_uda'
)
VFM_UDA_NO_MASKS = replace(VFM_SOURCE_ONLY, uda='vfm_uda')
VFM_UDA = mic(VFM_UDA_NO_MASKS, 'token', 0.7, 'spta')
VFM_UDA_BLOCKS = mic(VFM_UDA_NO_MASKS, 58.5, 0.7, 'spta')


@dataclass(frozen=True)
class Study:
    """What one table of the paper compares."""

    title: str
    runs: list  # (data, network, method) triples; a network is (architecture, encoder)
    seeds: tuple = (0, 1, 2)
    schedule: str = 'poly10warm'
    start_up_test: bool = False  # two quiet iterations
    workers: int = 4


# With one data worker, as published: the number changes no result.
SuccessorStudy = partial(Study, workers=1)
VFMStudy = partial(Study, schedule='vfm_uda')


def grid(networks, methods, datasets=(GTA,)):
    """Return every network with every method on all data."""
    return [(data, network, m) for data in datasets for network in networks for m in methods]


def hrda(crop_and_weight, decoder='daformer_sepaspp_sl', encoder='mitb5'):
    """Return HRDA's network: the side of its detail crop, the weight of that loss, options."""
    return f'hrda1-{crop_and_weight}_{decoder}', encoder


def encoder_study(encoder, architecture='vfm', data=GTA_VFM, uda=VFM_UDA):
    """Return LoRA on the source alone, UDA of all weights, and UDA of LoRA."""
    whole, adapted = (architecture, encoder), (architecture, f'{encoder}-lora')
    return [(data, adapted, VFM_SOURCE_ONLY), (data, whole, uda), (data, adapted, uda)]


DLV2 = ('dlv2red', 'r101v1c')
DANET = ('da_nodbn', 'r101v1c')
ISANET = ('isa_nodbn', 'r101v1c')
DLV3P = ('dlv3p_nodbn', 'r101v1c')
DLV3P_MIT = ('sfa_dlv3p_nodbn', 'mitb5-del')
SEGFORMER = ('segformer', 'mitb5')
SEGFORMER_CNN = ('segformer', 'r101v1c')
NO_CONTEXT = ('daformer_conv1', 'mitb5')
UPERNETS = [('upernet', 'mitb5'), ('upernet_ch256', 'mitb5')]
DAFORMER = ('daformer_sepaspp', 'mitb5')
WITH_CONTEXT = [
    ('daformer_isa', 'mitb5'),
    ('daformer_sepaspp_bottleneck', 'mitb5'),
    ('daformer_aspp', 'mitb5'),
    DAFORMER,
]
CNN_SIZES = [('dlv2red', encoder) for encoder in ('r50v1c', 's50', 's101', 's200')]
RESNEXTS = [('dlv2red', 'x50-32'), ('dlv2red', 'x101-32')]
MIT_B3, MIT_B4 = ('segformer', 'mitb3'), ('segformer', 'mitb4')
DAFORMER_SLIDE = ('daformer_sepaspp_sl', 'mitb5')
HRDA = hrda('512-0.1')
HRDA_DLV2 = hrda('512-0.1', 'dlv2red', 'r101v1c')
HRDA_DLV2_SLIDE = hrda('512-0.1', 'dlv2red_sl', 'r101v1c')
HRDA_SAME_SCALE, HRDA_BLURRED = hrda('256-0.1-samescale'), hrda('512-0.1-blurhr')
# Table 7 of HRDA: without learned attention, overlapping windows, loss of the detail crop.
HRDA_COMPONENTS = [hrda('512-0-fixedatt-nooverlap'), hrda('512-0-nooverlap'), hrda('512-0')]
HRDA_WEIGHTS = [hrda(f'512-{weight}') for weight in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)]
# Necks and heads on DINOv2-B. VFMHead has no use for a pyramid, VFMSegHead none for its strides.
VFM_HEADS = [
    *('vfm', 'vfm_pyramid-f2p', 'vfm_pyramid-bilinear', 'vfmseg'),
    *('daformer_vfm', 'daformer_vfm-f2p', 'daformer_vfm-bilinear'),
]
HRDA_SCALES = [hrda('512-0.1-sc0.25'), hrda('512-0.1-sc0.75')]

STUDIES = {
    1: Study(
        'Table 1: network architectures with and without UDA',
        grid([DLV2, DANET, ISANET, DLV3P, SEGFORMER], [SOURCE_ONLY, DACS, TARGET_ONLY]),
    ),
    2: Study(
        "Table 2: SegFormer's encoder and decoder, each with a CNN's counterpart",
        grid([DLV3P_MIT, SEGFORMER_CNN], [DACS, TARGET_ONLY]),
    ),
    3: Study(
        'Table 3: the size of the encoder',
        grid([*CNN_SIZES, MIT_B3, MIT_B4], [SOURCE_ONLY, DACS, TARGET_ONLY]),
        seeds=(0,),
    ),
    4: Study(
        'Table 4: without learning rate warmup',
        grid([DLV2, SEGFORMER], [DACS, TARGET_ONLY]),
        seeds=(0,),
        schedule='poly10',
    ),
    5: Study(
        'Table 5: rare class sampling, feature distance, slower teacher and pseudo-label crop',
        grid([SEGFORMER], COMPONENTS) + grid([DLV2], [FULL]),
    ),
    6: Study(
        'Table 7: decoders; its last row is DAFormer on GTA to Cityscapes',
        grid([NO_CONTEXT, *UPERNETS, *WITH_CONTEXT], [FULL, TARGET_ONLY]),
    ),
    7: Study(
        'Table 6: DAFormer on Synthia to Cityscapes',
        grid([DAFORMER], [FULL], [SYNTHIA]),
    ),
    8: Study(
        'DAFormer on Cityscapes to ACDC and to Dark Zurich',
        grid([DAFORMER], [FULL], [ACDC, DARK_ZURICH]),
    ),
    40: SuccessorStudy(
        'HRDA, Table 1: HRDA on GTA and Synthia to Cityscapes',
        grid([HRDA], [FULL_HR], [GTA_HR, SYNTHIA_HR]),
    ),
    41: SuccessorStudy(
        'HRDA, Table 2: ways of adaptation without and with HRDA',
        [
            *((GTA_CAUG, DLV2, ADVSEG), (GTA_CAUG_HR, HRDA_DLV2, ADVSEG)),
            *((GTA_CAUG, DLV2, MINENT), (GTA_CAUG_HR, HRDA_DLV2, MINENT)),
            *((GTA, DLV2, DACS), (GTA_HR, HRDA_DLV2, DACS)),
            *((GTA, DLV2, FULL_2), (GTA_HR, HRDA_DLV2, FULL_HR)),
        ],
    ),
    42: SuccessorStudy(
        'HRDA, Figure 4 left: DAFormer with crops of several sizes at half and at full resolution',
        [
            *grid([DAFORMER_SLIDE], [*cut(FULL_2, 128, 256, 384), FULL_2]),
            *grid([DAFORMER_SLIDE], cut(FULL_HR, 256, 512, 768), [GTA_HR]),
        ],
    ),
    43: SuccessorStudy(
        'HRDA, Figure 4 right: the same with the labels of the target',
        grid(
            [DAFORMER_SLIDE],
            [TARGET_ONLY],
            [
                *('2cityscapes_128x128', '2cityscapes_256x256', '2cityscapes_384x384'),
                *('2cityscapes', '2cityscapesHR_256x256', '2cityscapesHR', '2cityscapesHR_768x768'),
            ],
        ),
    ),
    44: SuccessorStudy(
        'HRDA, Tables 3 to 7, S1 and Figure S1: crops, scales, components, weight of the loss',
        [
            *grid([HRDA], cut(FULL_HR, 512, 768), [GTA_HR]),
            *grid([hrda('256-0.1'), hrda('384-0.1')], [FULL_HR], [GTA_HR]),
            *grid([hrda('384-0.1')], cut(FULL_HR, 768), [GTA_HR]),
            *grid([HRDA_SAME_SCALE], [FULL_2]),
            *grid([HRDA_BLURRED, *HRDA_COMPONENTS, *HRDA_WEIGHTS], [FULL_HR], [GTA_HR]),
            *grid(HRDA_SCALES, cut(FULL_HR, 512), [GTA_HR]),
        ],
    ),
    49: SuccessorStudy(
        'HRDA on Cityscapes to ACDC and to Dark Zurich',
        grid([HRDA], [FULL_HR_NO_MARGINS], [ACDC_HR, DARK_ZURICH_HR]),
    ),
    50: SuccessorStudy(
        'HRDA: domain generalisation with SHADE, DAFormer and HRDA on GTA alone',
        [
            *grid([DAFORMER], [DG], [GTA_CAUG]),
            *grid([hrda('384-0.1')], [replace(DG, min_crop=2.0)], [GTA_CAUG_HR]),
        ],
    ),
    80: SuccessorStudy(
        'MIC, Table 2: MIC with HRDA on four benchmarks',
        [
            *grid([HRDA], [mic(FULL_HR, 64, 0.7, 'spta')], [GTA_HR, SYNTHIA_HR]),
            *grid([HRDA], [mic(FULL_HR_NO_MARGINS, 64, 0.7, 'sep')], [ACDC_HR, DARK_ZURICH_HR]),
        ],
    ),
    81: SuccessorStudy(
        'MIC, Table 1: MIC with several methods and networks',
        [
            *grid([DLV2], [mic(m, 32, 0.7, 'spta') for m in (ADVSEG, MINENT, DACS, FULL)]),
            *grid([HRDA_DLV2_SLIDE], [mic(FULL_HR, 64, 0.7, 'spta')], [GTA_HR]),
            *grid([DAFORMER], [mic(FULL, 32, 0.7, 'spta')]),
        ],
    ),
    82: SuccessorStudy(
        'MIC, Table 6: which images are masked',
        [
            *grid([HRDA], [mic(FULL_HR, 64, 0.7, m) for m in ('spsa', 'spa')], [GTA_HR]),
            *grid([HRDA], [mic(FULL_HR_NO_MARGINS, 64, 0.7, m) for m in ('sps', 'spt')], [ACDC_HR]),
        ],
    ),
    83: SuccessorStudy(
        'MIC, Table 7: without colour augmentation, masks, slow teacher, confidence',
        grid(
            [DAFORMER],
            [
                mic(FULL, 32, 0.7, 'spt'),
                mic(FULL, 32, 0, 'spta'),
                mic(FULL, 32, 0.7, 'spta', alpha=0),
                mic(FULL, 32, 0.7, 'spta', threshold=None),
            ],
        ),
    ),
    84: SuccessorStudy(
        'MIC, Table 8: blocks and how many of them are masked; (32, 0.7) is in study 81',
        grid(
            [DAFORMER],
            [
                mic(FULL, block, ratio, 'spta')
                for block in (16, 32, 64, 128)
                for ratio in (0.3, 0.5, 0.7, 0.9)
                if (block, ratio) != (32, 0.7)
            ],
        ),
    ),
    85: SuccessorStudy(
        'MIC, Table 9: masked images in supervised training on Cityscapes',
        grid([DAFORMER], [mic(Method('dacs_srconly'), 32, 0.7, 'sps')], ['cityscapes2cityscapes']),
    ),
    100: Study(
        'start-up test of every architecture: 2 iterations each',
        grid(
            [
                *(DLV2, DLV3P, DANET, SEGFORMER, ISANET),
                *(*CNN_SIZES, *RESNEXTS, MIT_B4, MIT_B3),
                *(DLV3P_MIT, SEGFORMER_CNN),
                *(NO_CONTEXT, *WITH_CONTEXT, *UPERNETS),
            ],
            [TARGET_ONLY],
        ),
        seeds=(0,),
        start_up_test=True,
    ),
    101: Study(
        'start-up test of every way of training: 2 iterations each',
        grid([SEGFORMER], [SOURCE_ONLY, TARGET_ONLY, DACS, *COMPONENTS]),
        seeds=(0,),
        start_up_test=True,
    ),
    200: VFMStudy(
        'Foundation encoders: LoRA on the source alone, UDA of all weights, UDA of LoRA',
        [
            *encoder_study('mitb5', 'daformer_vfm', uda=VFM_UDA_BLOCKS),
            *(r for size in 'bl' for r in encoder_study(f'dinov2-{size}')),
            *(r for size in 'bl' for r in encoder_study(f'dinov3-{size}')),
            *encoder_study('dinov3-convnext-b', 'daformer_vfm', uda=VFM_UDA_BLOCKS),
            *encoder_study('eva02-l', data=GTA_CLIP),
        ],
    ),
    201: VFMStudy(
        'Foundation encoders: necks and heads on DINOv2-B',
        grid([(head, 'dinov2-b') for head in VFM_HEADS], [VFM_UDA], [GTA_VFM]),
    ),
    202: VFMStudy(
        'Foundation encoders: no masks, masked tokens, masked blocks with DINOv2-B',
        grid([('vfm', 'dinov2-b')], [VFM_UDA_NO_MASKS, VFM_UDA, VFM_UDA_BLOCKS], [GTA_VFM]),
    ),
}


def generate_experiment_cfgs(experiment):
    """Return the configurations of an experiment's runs in table order."""
    study = look_up(STUDIES, experiment, 'experiment')
    return [
        run_config(
            Run(data, *network, method, study.schedule, seed, study.workers, study.start_up_test),
            experiment,
        )
        for data, network, method in study.runs
        for seed in study.seeds
    ]
