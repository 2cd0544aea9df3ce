# What every run shares: logging, and from where it starts.
log_config = dict(
    interval=50,
    hooks=[
        dict(type='TextLoggerHook', by_epoch=False),
        dict(type='TensorboardLoggerHook', by_epoch=False),
    ],
)
dist_params = dict(backend='nccl')
log_level = 'INFO'
load_from = None
resume_from = None
workflow = [('train', 1)]
cudnn_benchmark = False
# For a GPU: less time or memory. Weights, teacher, losses and checkpoints stay float32, and the
# numbers change by rounding, so that everything is off. Not measured on a GPU. Beside it there are
# optimizer=dict(fused=True) and, for less memory, model=dict(backbone=dict(with_cp=True)).
speed = dict(
    amp=None,  # networks in 'bf16' (Ampere and newer) or in 'fp16' with scaled losses (any)
    channels_last=False,  # True: maps as (N, H, W, C), which tensor cores read
    compile=None,  # 'inductor': torch.compile; minutes at the start of every command
    # The batch goes through the networks in this many parts, which make one optimizer step: less
    # memory. BatchNorm, ClassMix's choice of classes and the pseudo-labels' weight are of a part.
    accumulate=1,
)
deterministic = False  # True, or --deterministic: what bit-identical runs on a GPU need
