# Adversarial training (AdaptSegNet, Tsai et al., CVPR 2018): a discriminator learns to tell the
# predictions on source images from those on target images, and the network to make them alike.
uda = dict(
    type='AdvSeg',
    discriminator_type='LS',  # least squares; 'Vanilla': binary cross entropy
    lr_D=1e-4,  # of the discriminator, which decays to lr_D_min
    lr_D_power=0.9,
    lr_D_min=0,
    lambda_adv_target=dict(main=0.001, aux=0.0002),  # weight for each head of the network
    mask_alpha=0.999,  # with masked images (mask_mode) there is a teacher that labels them
    mask_pseudo_threshold=0.968,
    debug_img_interval=1000,
)
