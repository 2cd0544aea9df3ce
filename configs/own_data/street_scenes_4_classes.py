# The example of docs/own_data.md: two domains in nobody's format, four classes, small enough for a
# CPU. Draw the data first: python tools/make_own_domains.py
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/daformer_sepaspp_mitb0_ch64.py',
    '../_base_/datasets/uda_own_data_128x128.py',
    '../_base_/uda/dacs.py',
    '../_base_/schedules/street_scenes.py',
]
classes = ['sky', 'vehicle', 'plant', 'road']
palette = [[120, 180, 240], [220, 30, 30], [60, 160, 40], [90, 90, 90]]

camera_val = dict(
    data_root='data/own_domains/camera/',
    img_dir='drive_2',
    ann_dir='drive_2_colours',
    id_map=dict(
        sky=[[120, 180, 240]],
        vehicle=[[220, 30, 30], [220, 90, 30]],
        plant=[[30, 160, 30], [120, 200, 60]],
        road=[[60, 60, 60]],
    ),
)
data = dict(
    train=dict(
        source=dict(
            data_root='data/own_domains/game/',
            img_dir='photos',
            ann_dir='masks',
            seg_map_suffix='_mask.png',
            id_map=dict(sky=90, vehicle=[40, 41, 42], plant=[70, 71], road=3),
        ),
        target=dict(data_root='data/own_domains/camera/', img_dir='drive_1'),
        rare_class_sampling=dict(min_pixels=0.0015, class_temp=0.1, min_crop_ratio=0.5),
    ),
    val=camera_val,
    test=camera_val,
)
uda = dict(
    pseudo_threshold=0.9,  # a network of a few hundred iterations is hardly ever surer
    # Off, since the encoder starts from random weights; with ImageNet's the lambda is 0.005.
    imnet_feature_dist_lambda=0,
    imnet_feature_dist_classes=['vehicle'],
    imnet_feature_dist_scale_min_ratio=0.75,
    debug_img_interval=100,
)
runner = dict(type='IterBasedRunner', max_iters=300)
checkpoint_config = dict(by_epoch=False, interval=300, max_keep_ckpts=1)
evaluation = dict(interval=300, metric='mIoU')
name = 'own_data_4_classes'
exp = 'own_data'
