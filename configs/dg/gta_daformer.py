# DAFormer, trained on GTA alone. Test it on unseen sets:
#   python tools/test.py work_dirs/local-basic/RUN/latest.pth \
#     --on cityscapes bdd100k mapillary --test-scale 1024x512
# Network and method are in the first base, with reasons.
# Memory, estimated: 10.1 GB, a card of 12 GB (2.8 with the three options of docs/hrda_mic.md).
_base_ = [
    '../_base_/dg_daformer_mitb5.py',
    '../_base_/datasets/dg_gtaCAug_512x512.py',
]
seed = 0
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=4,
    train=dict(
        # As in adaptation.
        rare_class_sampling=dict(min_pixels=3000, class_temp=0.01, min_crop_ratio=0.5)
    ),
)
name = 'gta_dg_daformer_s0'
name_dataset = 'gtaCAug'
name_uda = 'dacs_fdthings_srconly_rcs0.01_shade'
