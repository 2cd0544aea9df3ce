# VFM-UDA's training on any data and network: what configs/vfm/ shares. Values are those of the
# published code unless a comment says otherwise; docs/encoders.md lists what differs.
_base_ = ['default_runtime.py', 'uda/vfm_uda.py', 'schedules/vfm_uda.py']
n_gpus = 1

speed = dict(
    # Published: 8 images over all GPUs, 2 on each of 4. Here 2 at a time on one: as published, too,
    # what is mixed and the weight of pseudo-labels are of 2 images. On 4 GPUs:
    # --n-gpus 4 --cfg-options data.samples_per_gpu=2 speed.accumulate=1
    accumulate=4,
    # Published: fp16. bf16 has the range of float32 and needs Ampere or newer.
    amp='bf16',
)
uda = dict(
    mask_mode='separatetrgaug',
    mask_lambda=1,
    # Tokens, as the encoder was pretrained with; ++ and encoders without tokens mask blocks.
    mask_generator=dict(type='token', mask_ratio=0.7),
)
runner = dict(type='IterBasedRunner', max_iters=40000)
checkpoint_config = dict(by_epoch=False, interval=40000, max_keep_ckpts=1)
evaluation = dict(interval=4000, metric='mIoU')
seed = 0

# Meta information: names of work_dirs and tables.
exp = 'basic'
name_dataset = 'gtaVFM2cityscapesVFM_1024x1024'
name_uda = 'vfm_uda_rcs0.05-2.0-t20_cplr_mtoken-0.7-spta'
name_opt = 'adamw_1.41e-04_vfm_uda_1x8_40k'
