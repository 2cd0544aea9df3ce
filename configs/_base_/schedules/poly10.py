# Linear decay without warmup (the ablation of paper Table 4). min_lr is above the encoder's
# 6e-5, so that the encoder's rate rises to it while the head's falls: as published.
lr_config = dict(policy='poly', power=1.0, min_lr=1e-4, by_epoch=False)
