# UDA from UrbanSyn to Cityscapes at full resolution (HRDA): crops of 1024x1024.
# All but the source is as for GTA.
_base_ = 'uda_gtaHR_to_cityscapesHR_1024x1024.py'
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
crop_size = (1024, 1024)
source_train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', img_scale=(2048, 1024)),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='Pad', size=crop_size, pad_val=0, seg_pad_val=255),
    dict(type='DefaultFormatBundle'),
    dict(type='Collect', keys=['img', 'gt_semantic_seg']),
]
data = dict(
    train=dict(
        source=dict(
            type='UrbanSynDataset',
            data_root='data/urbansyn/',
            img_dir='rgb',
            ann_dir='ss',
            pipeline=source_train_pipeline,
        )
    )
)
