# VFM-UDA's network: DINOv2-B, and a small head that upsamples its last map four times.
model = dict(
    type='EncoderDecoder',
    pretrained='timm://vit_base_patch14_dinov2.lvd142m',
    backbone=dict(
        type='TimmViT',
        model_name='vit_base_patch14_dinov2',
        inside_scale=1.1,  # 1024 to 1120, which is 80 patches
        positions='meta',
    ),
    decode_head=dict(
        type='VFMHead',
        in_channels='from_encoder',
        num_classes=19,
        align_corners=False,
        loss_decode=dict(type='VFMCrossEntropyLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', stride=[512, 512], crop_size=[1024, 1024]),
)
