"""Registers everything that DAFormer adds to MMSegmentation's registries.

In the checkout ``import mmseg`` does this. With the installed wheel, import this module before
anything else of mmseg: it also provides the stand-in for mmcv's compiled operators.
"""

import importlib

importlib.import_module('mmseg.mmcv_ops').provide()

MODULES = (
    'mmseg.models.pretrained',
    'mmseg.models.backbones.mix_transformer',
    'mmseg.models.backbones.timm_encoder',
    'mmseg.models.decode_heads.daformer_head',
    'mmseg.models.decode_heads.mlp_head',
    'mmseg.models.decode_heads.dlv2_head',
    'mmseg.models.necks.segformer_adapter',
    'mmseg.models.uda',
    'mmseg.datasets.gta',
    'mmseg.datasets.synthia',
    'mmseg.datasets.acdc',
    'mmseg.datasets.own_dataset',
    'mmseg.datasets.uda_dataset',
)
for _name in MODULES:
    importlib.import_module(_name)
