# For a small network that starts from random weights on StreetScenes: minutes on a CPU.
_base_ = ['adamw.py', 'poly10warm.py']
optimizer = dict(
    lr=4e-3,  # far above the published rate: there are no ImageNet features to keep
    paramwise_cfg=dict(
        # The encoder is as new as the head, so no rate of its own for the head.
        custom_keys=dict(pos_block=dict(decay_mult=0.0), norm=dict(decay_mult=0.0))
    ),
)
lr_config = dict(warmup_iters=50)
