# VFMSeg's head on DINOv2-B: it fuses the maps after each quarter at their common stride.
model = dict(
    type='EncoderDecoder',
    pretrained='timm://vit_base_patch14_dinov2.lvd142m',
    backbone=dict(type='TimmViT', model_name='vit_base_patch14_dinov2', norm=False),
    decode_head=dict(
        type='VFMSegHead',
        in_channels='from_encoder',
        in_index=[0, 1, 2, 3],
        dropout_ratio=0.1,
        num_classes=19,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', stride=[512, 512], crop_size=[1024, 1024]),
)
