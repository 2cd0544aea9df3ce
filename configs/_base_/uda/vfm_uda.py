# VFM-UDA's self-training (Englert et al., VFM-UDA, CVPR workshops 2024): DACS without feature
# distance, with its own augmentations and labels that the teacher gives of an image and its mirror
# image. configs/_base_/vfm_uda.py adds the masked images.
uda = dict(
    type='DACS',
    alpha=0.999,  # how much of the teacher an update keeps
    pseudo_threshold=0.968,  # confidence from which a pixel counts towards the weight
    flip_pseudo_labels=True,
    # Jitter: brightness, contrast, saturation, hue. All are drawn for each image.
    augmentations=dict(
        source=dict(jitter=(32 / 255, 0.5, 0.5, 18 / 360), jitter_probability=0.9),
        # What is mixed; the teacher sees the image as it is.
        target=dict(jitter=(32 / 255, 0.5, 0.5, 18 / 360), jitter_probability=0.9),
        mix=dict(  # and masked images
            jitter=(0.2, 0.2, 0.2, 0.2),
            jitter_probability=0.8,
            blur_probability=0.5,
            blur_sigma=(0.15, 1.15),
        ),
    ),
    debug_img_interval=1000,
)
