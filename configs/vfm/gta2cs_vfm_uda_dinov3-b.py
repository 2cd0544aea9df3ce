# DINOv3-B in the setting of VFM-UDA (gta2cs_vfm_uda_dinov2-b.py). Nothing of it is published.
# Memory, estimated: 6.6 GB, a card of 12 GB; with model.backbone.with_cp=True 3.4, 8 GB.
_base_ = ['gta2cs_vfm_uda_dinov2-b.py']
model = dict(
    pretrained='timm://vit_base_patch16_dinov3.lvd1689m',
    # Its patches are of 16 pixels, so that 1024 stays as it is; it has no absolute positions.
    backbone=dict(
        _delete_=True, type='TimmViT', model_name='vit_base_patch16_dinov3', mask_token=True
    ),
)
name = 'gta2cs_vfm_uda_dinov3-b_s0'
name_architecture = 'vfm_dinov3-b'
name_encoder = 'dinov3-b'
