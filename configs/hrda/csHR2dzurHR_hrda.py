# HRDA, Cityscapes to Dark Zurich, from day to night. As Cityscapes to ACDC (csHR2acdcHR_hrda.py)
# but for the target.
_base_ = [
    '../_base_/hrda_daformer_mitb5.py',
    '../_base_/datasets/uda_cityscapesHR_to_darkzurichHR_1024x1024.py',
]
seed = 0
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=1,
    train=dict(
        rare_class_sampling=dict(min_pixels=3000, class_temp=0.01, min_crop_ratio=2.0),
    ),
)
name = 'csHR2dzurHR_hrda_s0'
name_dataset = 'cityscapesHR2darkzurichHR_1024x1024'
name_uda = 'dacs_a999_fdthings_rcs0.01-2.0'
