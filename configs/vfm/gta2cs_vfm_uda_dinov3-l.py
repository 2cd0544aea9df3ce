# DINOv3-L in the setting of VFM-UDA. Nothing of it is published.
# Memory, estimated: 17.2 GB, a card of 24 GB; with model.backbone.with_cp=True 8.5, 12 GB.
_base_ = ['gta2cs_vfm_uda_dinov3-b.py']
model = dict(
    pretrained='timm://vit_large_patch16_dinov3.lvd1689m',
    backbone=dict(model_name='vit_large_patch16_dinov3'),
)
name = 'gta2cs_vfm_uda_dinov3-l_s0'
name_architecture = 'vfm_dinov3-l'
name_encoder = 'dinov3-l'
