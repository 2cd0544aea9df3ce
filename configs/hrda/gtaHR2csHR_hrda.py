# HRDA, GTA to Cityscapes: DAFormer at full resolution, twice the size of its images and crops.
# The network and its training are in the first base, with reasons.
_base_ = [
    '../_base_/hrda_daformer_mitb5.py',
    '../_base_/datasets/uda_gtaHR_to_cityscapesHR_1024x1024.py',
]
seed = 1
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=1,
    train=dict(
        # Rare Class Sampling as in DAFormer. The crop must hold more than twice min_pixels: a class
        # has four times the pixels that it has at half resolution, where the ratio is 0.5.
        rare_class_sampling=dict(min_pixels=3000, class_temp=0.01, min_crop_ratio=2.0),
        # The borders of Cityscapes' images have no class: rectification leaves them, and the car's
        # hood. Pseudo-labels are noise there. The margins (top, bottom, left, right) are those of
        # the image, in its 2048x1024 pixels, wherever the crop lies.
        target=dict(crop_pseudo_margins=[30, 240, 30, 30]),
    ),
)
name = 'gtaHR2csHR_hrda_s1'
name_dataset = 'gtaHR2cityscapesHR_1024x1024'
name_uda = 'dacs_a999_fdthings_rcs0.01-2.0_cpl2'
