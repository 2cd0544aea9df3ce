# Domain generalisation from GTA, Synthia and UrbanSyn: crops of 512x512.
# Each image is as likely as any other, whichever set it is of, and Rare Class Sampling counts the
# pixels of all three together. Synthia lacks terrain, truck and train.
_base_ = 'dg_gtaCAug_512x512.py'
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
crop_size = (512, 512)
gta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', img_scale=(1280, 720)),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='Pad', size=crop_size, pad_val=0, seg_pad_val=255),
    dict(type='DefaultFormatBundle'),
    dict(type='Collect', keys=['img', 'gt_semantic_seg']),
]
synthia_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', img_scale=(1280, 760)),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='Pad', size=crop_size, pad_val=0, seg_pad_val=255),
    dict(type='DefaultFormatBundle'),
    dict(type='Collect', keys=['img', 'gt_semantic_seg']),
]
urbansyn_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', img_scale=(1024, 512)),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='Pad', size=crop_size, pad_val=0, seg_pad_val=255),
    dict(type='DefaultFormatBundle'),
    dict(type='Collect', keys=['img', 'gt_semantic_seg']),
]
data = dict(
    train=dict(
        uniform_over='images',
        source=[
            dict(
                type='GTADataset',
                data_root='data/gta/',
                img_dir='images',
                ann_dir='labels',
                pipeline=gta_pipeline,
            ),
            dict(
                type='SynthiaDataset',
                data_root='data/synthia/',
                img_dir='RGB',
                ann_dir='GT/LABELS',
                pipeline=synthia_pipeline,
            ),
            dict(
                type='UrbanSynDataset',
                data_root='data/urbansyn/',
                img_dir='rgb',
                ann_dir='ss',
                pipeline=urbansyn_pipeline,
            ),
        ],
    )
)
