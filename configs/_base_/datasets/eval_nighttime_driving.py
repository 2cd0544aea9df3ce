# Evaluation on Nighttime Driving, whole images: 1920x1080.
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='MultiScaleFlipAug',
        img_scale=(1920, 1080),
        flip=False,
        transforms=[
            dict(type='Resize', keep_ratio=True),
            dict(type='RandomFlip'),
            dict(type='Normalize', **img_norm_cfg),
            dict(type='ImageToTensor', keys=['img']),
            dict(type='Collect', keys=['img']),
        ],
    ),
]
target_val = dict(
    type='NightDrivingDataset',
    data_root='data/NighttimeDrivingTest/',
    img_dir='leftImg8bit/test/night',
    ann_dir='gtCoarse_daytime_trainvaltest/test/night',
    pipeline=test_pipeline,
)
data = dict(val=target_val, test=target_val)
