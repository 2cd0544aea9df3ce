"""A run at small scale: on StreetScenes, from random weights, for two iterations.

It shows that a run starts, evaluates and saves, in seconds and without anything to download.
"""

from tools.run_config import START_UP_TEST_ITERATIONS

TARGET_WITH_LABELS = {
    'type': 'CityscapesDataset',
    'data_root': 'data/street_scenes/cityscapes/',
    'img_dir': 'leftImg8bit/train',
    'ann_dir': 'gtFine/train',
}
SMALLER = 512 // 128  # the side of the published crops to that of StreetScenes'
MIN_PIXELS = 10  # of a class in an image: even a handful of images has some of every class


def small_scale(config):
    """Return a configuration at small scale, under a name and an `exp` that say so.

    Args:
        config: as `tools.run_config.run_config` makes it; stays as it is.
    """
    train, uda = config['data'].get('train', {}), config.get('uda')
    if 'rare_class_sampling' in train:
        train = {'rare_class_sampling': {**train['rare_class_sampling'], 'min_pixels': MIN_PIXELS}}
    if config['name_uda'] == 'target-only':
        train = TARGET_WITH_LABELS
    data_file = 'street_scenes_128x128' if uda is None else 'uda_street_scenes_128x128'
    bases = [
        f'_base_/datasets/{data_file}.py' if base.startswith('_base_/datasets/') else base
        for base in config['_base_']
    ]
    iterations = START_UP_TEST_ITERATIONS
    # Gigabytes of optimizer state in every run would help nobody.
    checkpoints = {'interval': iterations, 'save_optimizer': False}
    small = {
        **config,
        '_base_': bases,
        'model': {**config['model'], 'pretrained': None},
        # Starting four loaders would take longer than loading the few images.
        'data': {**config['data'], 'train': train, 'workers_per_gpu': 1},
        'runner': {**config['runner'], 'max_iters': iterations},
        'checkpoint_config': {**config['checkpoint_config'], **checkpoints},
        'evaluation': {**config['evaluation'], 'interval': iterations},
        'log_config': {'interval': 1},
        'name': f'small_{config["name"]}',
        'exp': f'{config["exp"]}-small',
        'name_dataset': 'street_scenes',
    }
    if uda is not None:
        # All that a run sets there are the rows of the crop without weight.
        small['uda'] = {key: rows // SMALLER for key, rows in uda.items()}
    return small
