# AdamW as VFMSeg trains LoRA with it for 40 000 iterations: one rate for adapter and head, both of
# which start anew, and polynomial decay without warmup.
optimizer = dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
optimizer_config = dict()
lr_config = dict(policy='poly', power=0.9, min_lr=0.0, by_epoch=False)
