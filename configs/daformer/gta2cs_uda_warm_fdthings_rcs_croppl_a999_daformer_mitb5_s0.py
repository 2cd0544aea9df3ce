# DAFormer, GTA to Cityscapes: the final method, each choice with its reason. Sections and tables
# are those of the paper (Hoyer, Dai, Van Gool: DAFormer, CVPR 2022, arXiv 2111.14887).
_base_ = [
    '../_base_/default_runtime.py',
    # Architecture (Section 3.2). The hierarchical Transformer encoder is more robust to the domain
    # gap than CNNs (Tables 1 to 3). The decoder gathers context from the stacked features of all
    # levels, not of the deepest alone (Table 7).
    '../_base_/models/daformer_sepaspp_mitb5.py',
    # Data: 512x512 crops of images of about half size, two source and two target images each step.
    '../_base_/datasets/uda_gta_to_cityscapes_512x512.py',
    # Self-training (Section 3.1): an EMA teacher labels target images; the student learns from
    # source images and from class-mixed, strongly augmented ones.
    '../_base_/uda/dacs.py',
    # AdamW, as is usual for Transformers (Section 4.1).
    '../_base_/schedules/adamw.py',
    # Learning rate warmup (Section 3.3, Table 4): a high rate at the start would distort the
    # ImageNet features before they have been of use.
    '../_base_/schedules/poly10warm.py',
]
# Random seed. Reported results are the mean over the seeds 0, 1 and 2.
seed = 0
# Number of processes, one device each.
n_gpus = 1

data = dict(
    samples_per_gpu=2,
    workers_per_gpu=4,
    train=dict(
        # Rare Class Sampling (Section 3.3, Table 5). When a rare class is first seen depends on
        # chance, and late classes are confused with similar ones learned earlier. So classes are
        # drawn with P(c) = softmax((1 - f_c) / T), f_c their share of the source's pixels, and
        # images by class.
        rare_class_sampling=dict(
            # An image supplies a class if it has more than this many pixels of it.
            min_pixels=3000,
            # T: the lower, the more weight on rare classes.
            class_temp=0.01,
            # The crop must hold more than this share of min_pixels; else it is drawn again.
            min_crop_ratio=0.5,
        )
    ),
)

uda = dict(
    # A slower teacher: pseudo-labels that are more stable over time (Table 5).
    alpha=0.999,
    # Thing-Class ImageNet Feature Distance (Section 3.3, Table 5). ImageNet features tell things
    # apart (a bus from a train) and fine-tuning on synthetic data forgets this; so the encoder's
    # features on source images stay near the frozen ImageNet encoder's. The weight:
    imnet_feature_dist_lambda=0.005,
    # ImageNet is about things, not about road or sky: traffic light, traffic sign, person, rider,
    # car, truck, bus, train, motorcycle, bicycle.
    imnet_feature_dist_classes=[6, 7, 11, 12, 13, 14, 15, 16, 17, 18],
    # A position at the feature's size belongs to a class with at least this share of its pixels.
    imnet_feature_dist_scale_min_ratio=0.75,
    # The car's hood at the bottom and what rectification leaves at the top of Cityscapes images
    # have no class, so that pseudo-labels are noise there: these rows get no weight (Table 5).
    pseudo_weight_ignore_top=15,
    pseudo_weight_ignore_bottom=120,
)

optimizer = dict(
    lr=6e-05,
    paramwise_cfg=dict(
        custom_keys=dict(
            # The head starts from random weights, the encoder from ImageNet: ten times the rate.
            head=dict(lr_mult=10.0),
            # Norms and positional parameters do not decay, as in SegFormer.
            pos_block=dict(decay_mult=0.0),
            norm=dict(decay_mult=0.0),
        )
    ),
)

# 40,000 iterations; one checkpoint, at the end (there is no selection on the target's labels);
# mIoU on the target's validation set every tenth of the run, to watch it.
runner = dict(type='IterBasedRunner', max_iters=40000)
checkpoint_config = dict(by_epoch=False, interval=40000, max_keep_ckpts=1)
evaluation = dict(interval=4000, metric='mIoU')

# Meta information: names of work_dirs and tables.
name = 'gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0'
exp = 'basic'
name_dataset = 'gta2cityscapes'
name_architecture = 'daformer_sepaspp_mitb5'
name_encoder = 'mitb5'
name_decoder = 'daformer_sepaspp'
name_uda = 'dacs_a999_fd_things_rcs0.01_cpl'
name_opt = 'adamw_6e-05_pmTrue_poly10warm_1x2_40k'
