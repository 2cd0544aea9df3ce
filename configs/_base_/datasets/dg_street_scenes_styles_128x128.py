# Domain generalisation from StreetScenes' game-like style to the camera-like one by day, by night
# and in fog, which are for evaluation alone. make_street_scenes.py --styles night fog draws them.
_base_ = 'dg_street_scenes_128x128.py'
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='MultiScaleFlipAug',
        img_scale=(256, 128),
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
camera_val = dict(
    type='CityscapesDataset',
    data_root='data/street_scenes/cityscapes/',
    img_dir='leftImg8bit/val',
    ann_dir='gtFine/val',
    pipeline=test_pipeline,
)
acdc_val = dict(
    type='ACDCDataset',
    data_root='data/street_scenes/acdc/',
    img_dir='rgb_anon/val',
    ann_dir='gt/val',
    pipeline=test_pipeline,
)
styles = dict(
    _delete_=True,
    camera=camera_val,
    night=dict(acdc_val, conditions='night'),
    fog=dict(acdc_val, conditions='fog'),
)
data = dict(val=styles, test=styles)
