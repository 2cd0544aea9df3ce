# 600 iterations for a small network that starts from random weights on StreetScenes: minutes on a
# CPU.
_base_ = ['adamw.py', 'poly10warm.py']
optimizer = dict(
    lr=4e-3,  # far above the published rate: there are no ImageNet features to keep
    paramwise_cfg=dict(
        # The encoder is as new as the head, so no rate of its own for the head.
        custom_keys=dict(pos_block=dict(decay_mult=0.0), norm=dict(decay_mult=0.0))
    ),
)
lr_config = dict(warmup_iters=50)
runner = dict(type='IterBasedRunner', max_iters=600)
checkpoint_config = dict(by_epoch=False, interval=600, max_keep_ckpts=1)
evaluation = dict(interval=300, metric='mIoU')
