# VFM-UDA++'s network as near as it comes without ViT-Adapter, which is not implemented: the maps
# after each quarter of DINOv2-B become a pyramid by transposed convolutions.
model = dict(
    type='EncoderDecoder',
    pretrained='timm://vit_base_patch14_dinov2.lvd142m',
    backbone=dict(
        type='TimmViT',
        model_name='vit_base_patch14_dinov2',
        norm=False,  # the published network has no final norm
        inside_scale=1.1,  # 1024 to 1120
        positions='meta',
    ),
    neck=dict(type='Feature2Pyramid', embed_dim='from_encoder'),
    decode_head=dict(
        type='VFMPyramidHead',
        in_channels='from_encoder',
        in_index=[0, 1, 2, 3],
        num_classes=19,
        align_corners=False,
        loss_decode=dict(type='VFMCrossEntropyLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', stride=[512, 512], crop_size=[1024, 1024]),
)
