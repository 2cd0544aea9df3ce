# Evaluation on Mapillary Vistas v1.2, resized to fit 1024x512. label_table: results of the other
# one, rein, are not comparable.
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='MultiScaleFlipAug',
        img_scale=(1024, 512),
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
    type='MapillaryDataset',
    label_table='vfm_uda',
    data_root='data/mapillary/',
    img_dir='validation/images',
    ann_dir='validation/labels',
    pipeline=test_pipeline,
)
data = dict(val=target_val, test=target_val)
