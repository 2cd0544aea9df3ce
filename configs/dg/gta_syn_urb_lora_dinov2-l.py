# DINOv2-L with LoRA, trained on GTA, Synthia and UrbanSyn alone. Test it on unseen sets:
#   python tools/test.py work_dirs/local-basic/RUN/latest.pth \
#     --on cityscapes bdd100k mapillary --test-scale 1024x512
# Network and method are in the first base, with reasons.
# Memory, estimated: 5.0 GB, a card of 8 GB (2.0 with model.backbone.with_cp=True).
_base_ = [
    '../_base_/dg_lora_dinov2-l.py',
    '../_base_/datasets/dg_gta_synthia_urbansynCAug_512x512.py',
]
seed = 0
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=4,
    train=dict(
        # As in DAFormer, over the pixels of all three sources.
        rare_class_sampling=dict(min_pixels=3000, class_temp=0.01, min_crop_ratio=0.5)
    ),
)
name = 'gta_syn_urb_dg_lora_dinov2-l_s0'
name_dataset = 'gta_synthia_urbansynCAug'
name_uda = 'dacs_srconly_rcs0.01'
