"""The whole demo on a few scenes and iterations, and its table."""

from PIL import Image

from demo import street_scenes
from mmseg.datasets import CityscapesDataset

FEW = ['--num-source', '4', '--num-target', '4', '--num-val', '5']
SHORT = [
    'runner.max_iters=2', 'evaluation.interval=2', 'checkpoint_config.interval=2',
    'data.workers_per_gpu=0',
]  # fmt: skip
NO_RARE_CLASSES = 'data.train.rare_class_sampling.min_pixels=0'


def test_the_demo_ends_with_a_table_and_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw = street_scenes.make_street_scenes.main
    monkeypatch.setattr(street_scenes.make_street_scenes, 'main', lambda argv: draw(argv + FEW))
    train = street_scenes.run_experiments.main

    def train_with_few_scenes(argv):
        # A handful of scenes has no 100 pixels of every class.
        extra = [NO_RARE_CLASSES] if any('uda_mitb0' in word for word in argv) else []
        return train(argv + extra)

    monkeypatch.setattr(street_scenes.run_experiments, 'main', train_with_few_scenes)
    means = street_scenes.main(['--cfg-options', *SHORT])
    assert set(means) == {'source-only', 'DAFormer'}
    shown = capsys.readouterr().out
    assert 'motorcycle' in shown and 'mIoU' in shown
    assert 'mIoU' in (tmp_path / 'demo_output/comparison.txt').read_text()
    with Image.open(tmp_path / 'demo_output/comparison.png') as picture:
        assert picture.width > 1000

    street_scenes.main(['--cfg-options', *SHORT])  # all is there already
    assert capsys.readouterr().out.count('This run is finished') == 2


def test_the_table_holds_means_spreads_and_gains():
    def run(miou):
        return {'mIoU': miou, **{f'IoU.{name}': miou + 1 for name in CityscapesDataset.CLASSES}}

    ious = {'source-only': [run(10.0), run(14.0)], 'DAFormer': [run(20.0), run(30.0)]}
    rows = street_scenes.comparison_table(ious).rows
    assert rows[0] == ['road', '13.0', '26.0', '+13.0']
    assert rows[-1] == ['mIoU', '12.0 ± 2.8', '25.0 ± 7.1', '+13.0']
    assert len(rows) == 20
