# Evaluation on BDD100K, whole images: 1280x720.
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='MultiScaleFlipAug',
        img_scale=(1280, 720),
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
    type='BDD100KDataset',
    data_root='data/bdd100k/',
    img_dir='images/10k/val',
    ann_dir='labels/sem_seg/masks/val',
    pipeline=test_pipeline,
)
data = dict(val=target_val, test=target_val)
