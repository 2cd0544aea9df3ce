# UDA from GTA to Cityscapes as VFM-UDA has it: crops of 1024x1024 from images whose short side is
# 1440 (GTA) and 1024 (Cityscapes), times a factor from 0.9 to 1.1. Crops are padded before they are
# normalised, with black. Tests are those of HRDA.
_base_ = 'uda_gtaHR_to_cityscapesHR_1024x1024.py'
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
crop_size = (1024, 1024)
source_train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    # The short side; the long one has no bound.
    dict(type='Resize', img_scale=(100000, 1440), ratio_range=(0.9, 1.1)),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=crop_size, pad_val=0, seg_pad_val=255),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='DefaultFormatBundle'),
    dict(type='Collect', keys=['img', 'gt_semantic_seg']),
]
target_train_pipeline = [  # without annotations: the target has none
    dict(type='LoadImageFromFile'),
    dict(type='Resize', img_scale=(100000, 1024), ratio_range=(0.9, 1.1)),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=crop_size, pad_val=0, seg_pad_val=255),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='DefaultFormatBundle'),
    dict(type='Collect', keys=['img']),
]
data = dict(
    samples_per_gpu=8,
    workers_per_gpu=4,
    train=dict(
        # Up to 20 crops are drawn for one with more than 6000 pixels of the class (3000 for each
        # 512x1024) and with no class on 75 % of it.
        rare_class_sampling=dict(
            min_pixels=3000, class_temp=0.05, min_crop_ratio=2.0, crop_tries=20
        ),
        source=dict(pipeline=source_train_pipeline),
        target=dict(
            pipeline=target_train_pipeline,
            # Without pseudo-labels, as fractions of the image: Cityscapes' borders, the car's hood.
            crop_pseudo_margins=[0.03, 0.25, 0.03, 0.03],
        ),
    ),
)
