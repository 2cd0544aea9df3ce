"""The network that is measured: DAFormer at full width, from random weights."""

import os.path as osp

from mmcv import Config

import mmseg.models  # noqa: F401  registers what the config names
from mmseg.models.encoder_channels import fill_in_channels

BASE_CONFIGS = osp.join(osp.dirname(__file__), '..', '..', 'configs', '_base_')


def model_config(encoder, with_cp=False):
    """Config of DAFormer's segmentor with another MiT and without ImageNet weights.

    Args:
        encoder (str): `mit_b0` to `mit_b5`.
        with_cp (bool): gradient checkpointing of encoder and ASPP.
    """
    model = Config.fromfile(osp.join(BASE_CONFIGS, 'models', 'daformer_sepaspp_mitb5.py')).model
    model.pretrained = None
    model.backbone = dict(type=encoder, with_cp=with_cp)
    model.decode_head.decoder_params.fusion_cfg.with_cp = with_cp
    model.decode_head.in_channels = 'from_encoder'
    fill_in_channels(model)
    return model
