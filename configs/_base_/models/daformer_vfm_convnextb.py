# DAFormer's decoder on DINOv3's ConvNeXt-B.
_base_ = ['daformer_vfm_mitb5.py']
model = dict(
    pretrained='timm://convnext_base.dinov3_lvd1689m',
    backbone=dict(_delete_=True, type='TimmEncoder', model_name='convnext_base'),
)
