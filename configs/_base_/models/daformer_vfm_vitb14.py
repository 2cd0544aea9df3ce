# DAFormer's decoder on DINOv2-B, whose maps all have stride 14; a neck may make a pyramid of them.
_base_ = ['daformer_vfm_mitb5.py']
model = dict(
    pretrained='timm://vit_base_patch14_dinov2.lvd142m',
    backbone=dict(
        _delete_=True,
        type='TimmViT',
        model_name='vit_base_patch14_dinov2',
        inside_scale=1.1,
        positions='meta',
    ),
)
