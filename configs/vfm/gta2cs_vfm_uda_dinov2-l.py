# VFM-UDA with DINOv2-L, GTA to Cityscapes, as published: 78.4 mIoU (its README; not measured here).
# Memory, estimated: 21.4 GB, a card of 48 GB; with model.backbone.with_cp=True 9.5, 16 GB.
_base_ = ['gta2cs_vfm_uda_dinov2-b.py']
model = dict(
    pretrained='timm://vit_large_patch14_dinov2.lvd142m',
    backbone=dict(model_name='vit_large_patch14_dinov2'),
)
name = 'gta2cs_vfm_uda_dinov2-l_s0'
name_architecture = 'vfm_dinov2-l'
name_encoder = 'dinov2-l'
