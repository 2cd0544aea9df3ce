# Entropy minimisation (ADVENT, Vu et al., CVPR 2019): the network becomes sure of its predictions
# on target images.
uda = dict(
    type='MinEnt',
    lambda_ent=dict(main=0.001, aux=0.0002),  # weight for each head of the network
    mask_alpha=0.999,  # with masked images (mask_mode) there is a teacher that labels them
    mask_pseudo_threshold=0.968,
    debug_img_interval=1000,
)
