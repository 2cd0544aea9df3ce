# StreetScenes in several styles: training on the game-like one alone, the lower bound. As the
# others it starts from source_only_mitb0.py (--load-from), whose weights stand in for ImageNet's,
# so that all have learned for as long.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/daformer_sepaspp_mitb0_ch64.py',
    '../_base_/datasets/dg_street_scenes_styles_128x128.py',
    '../_base_/schedules/street_scenes.py',
]
runner = dict(type='IterBasedRunner', max_iters=150)
checkpoint_config = dict(by_epoch=False, interval=150, max_keep_ckpts=1)
evaluation = dict(interval=150, metric='mIoU')
seed = 0
n_gpus = 1

# Meta information: names of work_dirs and tables.
name = 'street_scenes_styles_source-only_daformer_mitb0'
exp = 'street_scenes'
name_dataset = 'street_scenes_styles'
name_architecture = 'daformer_sepaspp_mitb0'
name_encoder = 'mitb0'
name_decoder = 'daformer_sepaspp'
name_uda = 'source-only'
name_opt = 'adamw_4e-03_pmFalse_poly10warm_1x4_150it'
