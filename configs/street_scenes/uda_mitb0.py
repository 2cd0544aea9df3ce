# DAFormer's self-training on StreetScenes, small enough for a CPU: the game-like style has labels,
# the camera-like one does not. What differs from the published setting is said here and why.
# Draw the data first, and train source_only_mitb0.py, whose weights stand in for ImageNet's: a
# teacher of random weights has nothing to say about the target.
#   python tools/make_street_scenes.py
#   python tools/convert_datasets/gta.py data/street_scenes/gta
#   python tools/convert_datasets/cityscapes.py data/street_scenes/cityscapes
#   python run_experiments.py --config configs/street_scenes/uda_mitb0.py --load-from FILE.pth
# `make demo` does all of it.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/daformer_sepaspp_mitb0_ch64.py',
    '../_base_/datasets/uda_street_scenes_128x128.py',
    # - No feature distance: it holds the student to ImageNet features, and a frozen encoder of
    #   random weights would be an anchor without meaning.
    # - alpha 0.99: the average of 0.999 over the last 1000 iterations is longer than the run.
    '../_base_/uda/dacs.py',
    '../_base_/schedules/street_scenes.py',
]
runner = dict(type='IterBasedRunner', max_iters=650)
checkpoint_config = dict(by_epoch=False, interval=650, max_keep_ckpts=1)
evaluation = dict(interval=650, metric='mIoU')
seed = 0
n_gpus = 1

data = dict(
    train=dict(
        rare_class_sampling=dict(
            # Of 480×264; the published 3000 pixels of GTA's 1914×1052 would be 189. More of them
            # choose larger objects, which a short training learns sooner.
            min_pixels=300,
            class_temp=0.01,
            min_crop_ratio=0.5,
        )
    )
)
uda = dict(
    # Most target pictures show the hood of the camera's car, which has no class and which the
    # source does not know. It is at most a tenth of the height; at the top nothing is amiss.
    pseudo_weight_ignore_bottom=13,
    # After a few hundred iterations hardly a pixel reaches the published 0.968, and pseudo-labels
    # without weight teach nothing.
    pseudo_threshold=0.9,
    debug_img_interval=200,
)

# Meta information: names of work_dirs and tables.
name = 'street_scenes_dacs_rcs001_cpl_daformer_mitb0'
exp = 'street_scenes'
name_dataset = 'street_scenes'
name_architecture = 'daformer_sepaspp_mitb0'
name_encoder = 'mitb0'
name_decoder = 'daformer_sepaspp'
name_uda = 'dacs_rcs0.01_cpl'
name_opt = 'adamw_4e-03_pmFalse_poly10warm_1x4_650it'
