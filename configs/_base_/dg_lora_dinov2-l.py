# Domain generalisation with DINOv2-L and LoRA, on any sources (VFMSeg). The data are DAFormer's,
# since VFMSeg's were not at hand; the test windows are Rein's.
_base_ = [
    'default_runtime.py',
    'models/vfmseg_vitb14.py',
    'uda/dacs_srconly.py',
    'schedules/adapters.py',
]
n_gpus = 1
model = dict(
    pretrained='timm://vit_large_patch14_dinov2.lvd142m',
    backbone=dict(
        model_name='vit_large_patch14_dinov2',
        out_indices=[7, 11, 15, 23],
        # The encoder stays what 142 million images have made of it. What adapts it is small.
        adapt=dict(type='LoRA', r=32, dropout=0.1),
    ),
    test_cfg=dict(stride=[341, 341], crop_size=[512, 512]),
)
runner = dict(type='IterBasedRunner', max_iters=40000)
checkpoint_config = dict(by_epoch=False, interval=40000, max_keep_ckpts=1)
evaluation = dict(interval=4000, metric='mIoU')

# Meta information: names of work_dirs and tables.
exp = 'basic'
name_architecture = 'vfmseg_dinov2-l-lora'
name_encoder = 'dinov2-l-lora'
name_decoder = 'vfmseg'
name_opt = 'adamw_1.00e-04_adapters_1x2_40k'
