"""The loader's benchmark, on small images."""

import json

import pytest
import torch

from tools.benchmarks import loader, timing
from tools.benchmarks.timing import Clock


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Where the data of the tests are drawn; few, small images and few samples of them."""
    scenes = ['--num-source', '6', '--num-target', '2', '--num-val', '0']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, 'SCENES', scenes)
        patch.setattr(loader, 'SAMPLES', 3)
        patch.setattr(loader, 'MIN_PIXELS', 1)
        patch.setattr(timing, 'MATMUL_SIDE', 64)
        yield tmp_path_factory.mktemp('benchmark') / 'full'


def test_the_loader_is_measured_beside_the_plain_one(root):
    found = loader.measure_loader(Clock(torch.device('cpu')), 2, root, nproc=1)
    assert found == json.loads(json.dumps(found))
    for name in ('ours', 'kept', 'plain'):
        ratio = found[name]['per_s'] / found['plain']['per_s']
        assert found[name]['ratio'] == pytest.approx(ratio)
        assert len(found[name]['ratio_of_rounds']) == found[name]['rounds'] == 2
    names = ('LoadImageFromFile', 'LoadAnnotations', 'Resize', 'choose the crop')
    for parts in found['ms_by_part'].values():
        assert all(parts[name] > 0 for name in names)
        assert sum(parts[name] for name in names) < parts['all']
    files = {path: path.stat().st_mtime_ns for path in root.rglob('*.png')}
    assert len(files) == 6 * 3 + 2
    loader.draw_data(root, nproc=1)
    assert files == {path: path.stat().st_mtime_ns for path in root.rglob('*.png')}


def test_the_plain_loader_takes_the_same_class_and_images(root):
    loader.draw_data(root, nproc=1)
    dataset = loader.full_size_dataset(root)
    for number in range(4):
        ours, (plain, redraws) = dataset[number], loader.plain_sample(dataset, number)
        assert 0 <= redraws <= 10
        assert list(ours) == list(plain)
        assert torch.equal(ours['target_img'].data, plain['target_img'].data)
        assert ours['img_metas'].data['filename'] == plain['img_metas'].data['filename']
