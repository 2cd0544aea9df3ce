# MIC(HRDA), GTA to Cityscapes: HRDA, and masked images beside the mixed ones (Hoyer, Dai, Wang,
# Van Gool: MIC, CVPR 2023, arXiv 2212.01322). The student sees a target image of which most is
# hidden, and has to predict the pseudo-label of the whole image: so it learns to use context.
_base_ = ['../hrda/gtaHR2csHR_hrda.py']
seed = 2
uda = dict(
    # All target images of the batch, colour-augmented like the mixed ones (Tables 6 and 7).
    mask_mode='separatetrgaug',
    # The pseudo-labels are those of the mixed images, so there is no second teacher.
    mask_alpha='same',
    mask_pseudo_threshold='same',
    mask_lambda=1,  # weight of this loss
    # 70 % of the blocks are hidden. Blocks are large, or what is next to one would tell what is in
    # it (Table 8).
    mask_generator=dict(type='block', mask_ratio=0.7, mask_block_size=64),
)
name = 'gtaHR2csHR_mic_hrda_s2'
name_uda = 'dacs_a999_fdthings_rcs0.01-2.0_cpl2_m64-0.7-spta'
