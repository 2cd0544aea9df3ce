# HRDA with DAFormer's network and UDA, on any data: what configs/hrda/ shares. Each choice has its
# reason; sections and tables are those of the paper (Hoyer, Dai, Van Gool: HRDA, ECCV 2022, arXiv
# 2204.13132). What is not said here is as in configs/daformer/.
_base_ = [
    'default_runtime.py',
    'models/daformer_sepaspp_mitb5.py',
    # Self-training with a slow teacher, and the feature distance on thing classes.
    'uda/dacs_a999_fdthings.py',
    'schedules/adamw.py',
    'schedules/poly10warm.py',
]
n_gpus = 1
gpu_model = 'NVIDIATITANRTX'  # what it was published for: 24 GB

model = dict(
    type='HRDAEncoderDecoder',
    # Small objects need high resolution, large ones context, and a GPU cannot have both at once. So
    # the whole crop at half its size gives the context, and a crop of it at full size the details.
    scales=[1, 0.5],
    hr_crop_size=(512, 512),
    # Where the detail crop may lie: where its features fall on those of the context, which have one
    # position for 4 * 2 pixels.
    crop_coord_divisible=8,
    # The feature distance sees the context, which has whole objects.
    feature_scale=0.5,
    decode_head=dict(
        # One decoder for both, and a small one whose output is the attention: for each pixel and
        # class, how far to trust the details.
        type='HRDAHead',
        single_scale_head='DAFormerHead',
        # Weight of the loss of the details alone, lest they learn only where they are trusted.
        hr_loss_weight=0.1,
    ),
    # Tests in overlapping windows of the size that was trained with; `batched_slide` encodes all
    # windows of an image at once.
    test_cfg=dict(mode='slide', batched_slide=True, stride=[512, 512], crop_size=[1024, 1024]),
)

optimizer = dict(
    lr=6e-05,
    paramwise_cfg=dict(
        custom_keys=dict(
            head=dict(lr_mult=10.0), pos_block=dict(decay_mult=0.0), norm=dict(decay_mult=0.0)
        )
    ),
)
runner = dict(type='IterBasedRunner', max_iters=40000)
checkpoint_config = dict(by_epoch=False, interval=40000, max_keep_ckpts=1)
evaluation = dict(interval=4000, metric='mIoU')

# Meta information: names of work_dirs and tables.
exp = 'basic'
name_architecture = 'hrda1-512-0.1_daformer_sepaspp_sl_mitb5'
name_encoder = 'mitb5'
name_decoder = 'hrda1-512-0.1_daformer_sepaspp_sl'
name_opt = 'adamw_6e-05_pmTrue_poly10warm_1x2_40k'
