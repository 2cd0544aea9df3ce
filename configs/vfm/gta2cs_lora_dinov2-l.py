# DINOv2-L with LoRA, trained on GTA alone and tested on Cityscapes: domain generalisation, in which
# the target is never seen (VFMSeg). The data are DAFormer's, since VFMSeg's were not at hand; the
# test windows are Rein's.
# Memory, estimated: 5.0 GB, a card of 8 GB (2.0 with model.backbone.with_cp=True).
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/vfmseg_vitb14.py',
    '../_base_/datasets/uda_gtaCAug_to_cityscapes_512x512.py',
    '../_base_/uda/dacs_srconly.py',
    '../_base_/schedules/adapters.py',
]
n_gpus = 1
seed = 0
model = dict(
    pretrained='timm://vit_large_patch14_dinov2.lvd142m',
    backbone=dict(
        model_name='vit_large_patch14_dinov2',
        out_indices=[7, 11, 15, 23],
        adapt=dict(type='LoRA', r=32, dropout=0.1),
    ),
    test_cfg=dict(stride=[341, 341], crop_size=[512, 512]),
)
data = dict(
    samples_per_gpu=2,
    train=dict(
        # Source images come from here. The target images beside them are loaded and not used.
        rare_class_sampling=dict(min_pixels=3000, class_temp=0.01, min_crop_ratio=0.5)
    ),
)
runner = dict(type='IterBasedRunner', max_iters=40000)
checkpoint_config = dict(by_epoch=False, interval=40000, max_keep_ckpts=1)
evaluation = dict(interval=4000, metric='mIoU')

# Meta information: names of work_dirs and tables.
name = 'gta2cs_lora_dinov2-l_s0'
exp = 'basic'
name_dataset = 'gtaCAug2cityscapes'
name_architecture = 'vfmseg_dinov2-l-lora'
name_encoder = 'dinov2-l-lora'
name_decoder = 'vfmseg'
name_uda = 'dacs_srconly_rcs0.01'
name_opt = 'adamw_1.00e-04_adapters_1x2_40k'
