# Two domains of your own, in the published setting: copy this file, say what your data is, then
#   python tools/convert_datasets/custom.py THIS_FILE
#   python tools/check_dataset.py THIS_FILE
#   python run_experiments.py --config THIS_FILE
# docs/own_data.md explains each entry.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/daformer_sepaspp_mitb5.py',
    '../_base_/datasets/uda_own_data_512x512.py',
    '../_base_/uda/dacs_a999_fdthings.py',
    '../_base_/schedules/adamw.py',
    '../_base_/schedules/poly10warm.py',
]
classes = ['road', 'vehicle', 'plant', 'sky']  # train ids 0, 1, 2, 3; all else is ignored
palette = [[90, 90, 90], [220, 30, 30], [60, 160, 40], [120, 180, 240]]  # may be left out

target_val = dict(
    data_root='data/my_target/',
    img_dir='val_images',
    ann_dir='val_labels',
    id_map=dict(road=[[60, 60, 60]], vehicle=[[220, 30, 30], [220, 90, 30]]),  # coloured labels
)
data = dict(
    train=dict(
        source=dict(
            data_root='data/my_source/',
            img_dir='images',
            ann_dir='labels',
            img_suffix='.jpg',
            seg_map_suffix='.png',
            id_map=dict(road=[3, 4], vehicle=[40, 41, 42], plant=70, sky=90),  # labels of ids
        ),
        target=dict(data_root='data/my_target/', img_dir='train_images'),
        rare_class_sampling=dict(min_pixels=0.0015, class_temp=0.01, min_crop_ratio=0.5),
    ),
    val=target_val,
    test=target_val,
)
uda = dict(imnet_feature_dist_classes=['vehicle'])
optimizer = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            head=dict(lr_mult=10.0), pos_block=dict(decay_mult=0.0), norm=dict(decay_mult=0.0)
        )
    )
)
runner = dict(type='IterBasedRunner', max_iters=40000)
checkpoint_config = dict(by_epoch=False, interval=40000, max_keep_ckpts=1)
evaluation = dict(interval=4000, metric='mIoU')  # None if no target image has a label
name = 'own_data_daformer_mitb5'
exp = 'own_data'
