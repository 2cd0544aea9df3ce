# StreetScenes in several styles: domain generalisation, from the game-like one alone, with Rare
# Class Sampling and hallucinated styles (SHADE). The feature distance is off, as there are no
# ImageNet weights.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/daformer_sepaspp_mitb0_ch64.py',
    '../_base_/datasets/dg_street_scenes_styles_128x128.py',
    '../_base_/uda/dacs_fdthings_srconly_shade.py',
    '../_base_/schedules/street_scenes.py',
]
model = dict(
    backbone=dict(style_hallucination_cfg=dict(concentration_coeff=0.0156, base_style_num=64))
)
style_hallucination_hook = dict(interval=4000, samples_per_gpu=2, workers_per_gpu=1)
uda = dict(imnet_feature_dist_lambda=0)
data = dict(
    train=dict(rare_class_sampling=dict(min_pixels=300, class_temp=0.01, min_crop_ratio=0.5))
)
runner = dict(type='IterBasedRunner', max_iters=150)
checkpoint_config = dict(by_epoch=False, interval=150, max_keep_ckpts=1)
evaluation = dict(interval=150, metric='mIoU')
seed = 0
n_gpus = 1

# Meta information: names of work_dirs and tables.
name = 'street_scenes_styles_dg_daformer_mitb0'
exp = 'street_scenes'
name_dataset = 'street_scenes_styles'
name_architecture = 'daformer_sepaspp_mitb0'
name_encoder = 'mitb0'
name_decoder = 'daformer_sepaspp'
name_uda = 'dacs_srconly_rcs0.01_shade'
name_opt = 'adamw_4e-03_pmFalse_poly10warm_1x4_150it'
