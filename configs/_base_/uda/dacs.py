# Self-training on class-mixed images (DACS, Tranheden et al., WACV 2021; paper, Section 3.1): the
# base to which the paper adds rare class sampling, feature distance and a warmup.
uda = dict(
    type='DACS',
    alpha=0.99,  # how much of the teacher an update keeps
    pseudo_threshold=0.968,  # confidence from which a pixel counts towards the weight
    pseudo_weight_ignore_top=0,  # rows whose pseudo-labels get no weight: 0 = none
    pseudo_weight_ignore_bottom=0,
    imnet_feature_dist_lambda=0,  # weight of the feature distance: 0 = off
    imnet_feature_dist_classes=None,  # None = all positions
    imnet_feature_dist_scale_min_ratio=None,
    mix='class',
    blur=True,
    color_jitter_strength=0.2,
    color_jitter_probability=0.2,  # the jitter happens where a uniform draw is ABOVE this
    debug_img_interval=1000,
    print_grad_magnitude=False,
)
