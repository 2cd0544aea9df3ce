# HRDA, Synthia to Cityscapes. As GTA to Cityscapes (gtaHR2csHR_hrda.py) but for the source.
_base_ = [
    '../_base_/hrda_daformer_mitb5.py',
    '../_base_/datasets/uda_synthiaHR_to_cityscapesHR_1024x1024.py',
]
seed = 0
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=1,
    train=dict(
        rare_class_sampling=dict(min_pixels=3000, class_temp=0.01, min_crop_ratio=2.0),
        target=dict(crop_pseudo_margins=[30, 240, 30, 30]),
    ),
)
name = 'synHR2csHR_hrda_s0'
name_dataset = 'synthiaHR2cityscapesHR_1024x1024'
name_uda = 'dacs_a999_fdthings_rcs0.01-2.0_cpl2'
