# DINOv2-L with LoRA in the setting of VFM-UDA: of the encoder only the adapters are trained.
# Nothing of this combination is published; LoRA's options are VFMSeg's.
# Memory, estimated: 13.5 GB, a card of 24 GB; with model.backbone.with_cp=True 4.6, 8 GB.
_base_ = ['gta2cs_vfm_uda_dinov2-l.py']
model = dict(backbone=dict(adapt=dict(type='LoRA', r=32, dropout=0.1)))
# Adapters have the head's rate (mmseg/core/optimizers/layer_decay.py).
name = 'gta2cs_vfm_uda_dinov2-l-lora_s0'
name_architecture = 'vfm_dinov2-l-lora'
name_encoder = 'dinov2-l-lora'
