# AdamW as VFM-UDA trains with it for 40 000 iterations: the encoder at a tenth of the head's rate.
# VFM-UDA++ has layer_decay=0.9, and an lr of 5e-5 or 1e-5 to scale.
optimizer = dict(
    type='AdamW',
    # Published: 5e-5 * sqrt(images in a batch over all GPUs). This is for 8 images; write the
    # product for other batches, since nothing scales the rate by a root (scale_lr is linear).
    lr=1.414213562373095e-4,
    betas=(0.9, 0.999),
    weight_decay=0.01,  # of everything, norms and biases, too
    constructor='LayerDecay',
    paramwise_cfg=dict(encoder_lr_mult=0.1, layer_decay=1.0),
)
optimizer_config = dict()
# Linear from 0.001 to the full rate, then linear to 0 as if there had been no warmup: the rate
# drops by 1500 / 40000 when the warmup ends, as published.
lr_config = dict(
    policy='FullRateWarmup',
    warmup_iters=1500,
    warmup_ratio=1e-3,
    power=1.0,
    min_lr=0.0,
    by_epoch=False,
)
