# HRDA, trained on GTA alone. Test it on unseen sets:
#   python tools/test.py work_dirs/local-basic/RUN/latest.pth \
#     --on cityscapes bdd100k mapillary --test-scale 2048x1024
# Network and method are in the first base, with reasons.
# Memory, estimated: 16.0 GB, a card of 24 GB (3.8 with the three options of docs/hrda_mic.md).
_base_ = [
    '../_base_/dg_hrda_mitb5.py',
    '../_base_/datasets/dg_gtaCAugHR_1024x1024.py',
]
seed = 0
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=4,
    train=dict(
        # A class has four times the pixels that it has at half resolution.
        rare_class_sampling=dict(min_pixels=3000, class_temp=0.01, min_crop_ratio=2.0)
    ),
)
name = 'gta_dg_hrda_s0'
name_dataset = 'gtaCAugHR'
name_uda = 'dacs_fdthings_srconly_rcs0.01-2.0_shade'
