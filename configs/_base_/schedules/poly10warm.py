# Linear decay to 0 with a linear warmup over the first 1500 iterations (paper, Section 3.3): early
# large steps would distort the ImageNet features that the method wants to keep.
lr_config = dict(
    policy='poly',
    warmup='linear',
    warmup_iters=1500,
    warmup_ratio=1e-6,
    power=1.0,
    min_lr=0.0,
    by_epoch=False,
)
