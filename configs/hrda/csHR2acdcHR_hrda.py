# HRDA, Cityscapes to ACDC, from clear to adverse weather. Unlike GTA to Cityscapes
# (gtaHR2csHR_hrda.py), the target's images have no borders without a class: no margins.
_base_ = [
    '../_base_/hrda_daformer_mitb5.py',
    '../_base_/datasets/uda_cityscapesHR_to_acdcHR_1024x1024.py',
]
seed = 0
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=1,
    train=dict(
        rare_class_sampling=dict(min_pixels=3000, class_temp=0.01, min_crop_ratio=2.0),
    ),
)
name = 'csHR2acdcHR_hrda_s0'
name_dataset = 'cityscapesHR2acdcHR_1024x1024'
name_uda = 'dacs_a999_fdthings_rcs0.01-2.0'
