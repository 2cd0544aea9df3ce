# Domain generalisation with DAFormer's network, on any sources: what configs/dg/ shares, each
# choice with its reason (Hoyer, Dai, Van Gool: Domain Adaptive and Generalizable Network
# Architectures and Training Strategies, TPAMI 2024, arXiv 2304.13615).
_base_ = [
    'default_runtime.py',
    'models/daformer_sepaspp_mitb5.py',
    # Labels of the source alone; the feature distance on thing classes keeps what ImageNet knows of
    # other looks; and the student learns from source images in hallucinated styles, too, for which
    # it has to predict the same (SHADE).
    'uda/dacs_fdthings_srconly_shade.py',
    'schedules/adamw.py',
    'schedules/poly10warm.py',
]
n_gpus = 1

model = dict(
    backbone=dict(
        # After the first stage mean and std of a map's channels are its style. Each image comes
        # once more in a style that is mixed of 64 which differ most among the source's.
        style_hallucination_cfg=dict(
            # Of the Dirichlet distribution of the mixture: the lower, the closer to one of them.
            concentration_coeff=0.0156,
            base_style_num=64,
        )
    )
)

optimizer = dict(
    lr=6e-05,
    paramwise_cfg=dict(
        custom_keys=dict(
            head=dict(lr_mult=10.0), pos_block=dict(decay_mult=0.0), norm=dict(decay_mult=0.0)
        )
    ),
)
# One checkpoint, at the end: none is chosen by the sets that it is tested on.
runner = dict(type='IterBasedRunner', max_iters=40000)
checkpoint_config = dict(by_epoch=False, interval=40000, max_keep_ckpts=1)
evaluation = dict(interval=4000, metric='mIoU')

# Meta information: names of work_dirs and tables.
exp = 'basic'
name_architecture = 'daformer_sepaspp_mitb5'
name_encoder = 'mitb5'
name_decoder = 'daformer_sepaspp'
name_opt = 'adamw_6e-05_pmTrue_poly10warm_1x2_40k'
