"""StreetScenes: exact labels, in the real formats, the same from the same seed."""

import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.labels import id2label, name2label
from PIL import Image

from mmseg.datasets.acdc import ACDCDataset
from mmseg.engine.checks.data import DatasetUse, check_dataset
from tools import make_street_scenes
from tools.convert_datasets import cityscapes, gta
from tools.street_scenes import formats, layout, scene
from tools.street_scenes.camera import NEAR, Camera
from tools.street_scenes.paint import Picture, Sprite
from tools.street_scenes.styles import CONDITIONS, STYLES

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = ['--num-source', '3', '--num-target', '4', '--num-val', '1']
OLD_README = """StreetScenes: procedurally drawn street scenes, seed 0.

gta/ is the labelled source, a clean game-like look, in the format of the GTA data set.
"""


@pytest.fixture(scope='module')
def pictures() -> dict[str, Picture]:
    """One scene of each domain with everything that is rare in it."""
    chance = dict.fromkeys(layout.CHANCE, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, 'CHANCE', chance)
        return {domain: scene.draw_scene(0, domain, 5) for domain in STYLES}


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'street_scenes'
    make_street_scenes.main([str(root), *SMALL, '--nproc', '2'])
    return root


@pytest.fixture
def old_root(root, tmp_path, monkeypatch) -> Path:
    """The scenes as a version without conditions left them, below the current folder."""
    shutil.copytree(root, tmp_path / 'data' / 'street_scenes')
    monkeypatch.chdir(tmp_path)
    Path('data/street_scenes/README.txt').write_text(OLD_README)
    return Path('data/street_scenes')


def camera(**changes) -> Camera:
    values = {'width': 64, 'height': 48, 'focal': 50, 'horizon': 20, 'eye': 1.5, 'offset': 1.0}
    return Camera(**(values | changes))


def snapshot(root: Path) -> dict[str, bytes]:
    files = sorted(path for path in root.rglob('*') if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def painted_train_ids(picture: Picture) -> np.ndarray:
    """Returns the train ids of what each pixel of the image was painted with last."""
    train_ids = np.array([255] + [name2label[label].trainId for label, _ in picture.objects])
    assert picture.owner.min() >= 0  # every pixel was painted
    return train_ids[picture.owner]


@pytest.mark.parametrize('slope_and_bend', [(0.0, 0.0), (0.1, -0.002)])
def test_camera_and_ground_are_inverse(slope_and_bend):
    slope, bend = slope_and_bend
    view = camera(slope=slope, bend=bend)
    s, z = view.ground()
    points = np.stack([s.ravel(), np.zeros(s.size), z.ravel()], axis=1)
    x, y = view.project(points).T.reshape(2, *s.shape)
    np.testing.assert_allclose(x, np.broadcast_to(np.arange(64), x.shape), atol=1e-2)
    np.testing.assert_allclose(y[:, 0], np.arange(view.ground_top, 48), atol=1e-3)


def test_what_is_behind_the_camera_is_cut_off():
    view = camera()
    across = [(0, 0, 10), (2, 0, 10), (2, 0, -10), (0, 0, -10)]
    outline = view.outline(across)
    assert len(outline) == 4
    assert outline[:, 1].max() == pytest.approx(20 + 50 * 1.5 / NEAR)
    assert len(view.outline([(0, 0, -3), (1, 0, -3), (1, 1, -3)])) == 0


def test_the_image_changes_at_the_labelled_pixels_alone():
    rng = np.random.default_rng(0)
    picture = Picture(camera(), STYLES['source'](rng), rng)
    ring = np.array([[10.3, 8.2], [40.7, 12.9], [58.0, 45.5], [5.1, 30.0]])
    sprite = Sprite(picture, ring, (200, 150, 100))
    sprite.line(np.vstack([ring, ring[:1]]), (250, 250, 250), 2.0)  # its label has no hole
    sprite.line([[0, 0], [30, 20]], (250, 0, 0), 1.0)
    picture.paste('car', sprite, depth=10)
    changed = (picture.image != 0).any(-1)
    assert 500 < changed.sum() < changed.size
    np.testing.assert_array_equal(changed, formats.label_ids(picture) == name2label['car'].id)


@pytest.mark.parametrize('domain', STYLES)
def test_labels_are_exact_in_all_formats(tmp_path, pictures, domain):
    picture = pictures[domain]
    paths = [tmp_path / name for name in ('image.png', 'label.png', 'image2.png', 'label.json')]
    formats.write_gta(picture, *paths[:2])
    formats.write_cityscapes(picture, *paths[2:])
    formats.write_acdc(picture, tmp_path / 'image3.png', tmp_path / 'train_ids.png')
    expected = painted_train_ids(picture)
    np.testing.assert_array_equal(gta.read_train_ids(paths[1]), expected)
    np.testing.assert_array_equal(cityscapes.read_train_ids(paths[3]), expected)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'train_ids.png')), expected)
    assert paths[0].read_bytes() == paths[2].read_bytes()
    assert paths[0].read_bytes() == (tmp_path / 'image3.png').read_bytes()
    np.testing.assert_array_equal(np.asarray(Image.open(paths[0])), picture.image)


def test_gta_labels_are_palette_pngs_in_the_colours_of_cityscapes(root):
    with Image.open(root / 'gta' / 'labels' / '00001.png') as label:
        assert label.mode == 'P' and label.size == (480, 264)
        palette = np.array(label.getpalette()).reshape(-1, 3)
    assert all(tuple(palette[i]) == id2label[i].color for i in range(34))


def test_sizes_and_names_are_those_of_the_real_sets(root):
    names = set(snapshot(root))
    source = {f'gta/{kind}/0000{i}.png' for i in (1, 2, 3) for kind in ('images', 'labels')}
    stems = ['train/arlen/arlen_000000', 'train/brackwede/brackwede_000000']
    stems += [
        'train/corvin/corvin_000000',
        'train/arlen/arlen_000001',
        'val/dunmore/dunmore_000000',
    ]
    target = {f'cityscapes/leftImg8bit/{stem}_000019_leftImg8bit.png' for stem in stems}
    target |= {f'cityscapes/gtFine/{stem}_000019_gtFine_polygons.json' for stem in stems}
    assert names == source | target | {'README.txt'}
    assert all(
        cv2.imread(str(root / name)).shape == (256, 512, 3) for name in target if 'Img' in name
    )
    assert 'proves nothing' in (root / 'README.txt').read_text()


def test_all_classes_can_be_drawn_and_some_pixels_are_ignored(pictures, monkeypatch):
    for picture in pictures.values():
        assert 255 in painted_train_ids(picture)
    names = {label for picture in pictures.values() for label, _ in picture.objects}
    monkeypatch.setattr(layout, 'CHANCE', dict.fromkeys(layout.CHANCE, 1.0))
    for i in range(3):  # in a crowd one hides the other
        names |= {label for label, _ in scene.draw_scene(0, 'source', i).objects}
    trained = {label.name for label in id2label.values() if 0 <= label.trainId < 19}
    assert names >= trained


def test_the_rare_things_are_rare_but_there():
    count = 250
    seen = dict.fromkeys(['truck', 'bus', 'train', 'paint_motorcycle', 'paint_traffic_light'], 0)
    for i in range(count):
        things = layout.Scene(np.random.default_rng(i), 'source').things
        kinds = {thing.paint.func.__name__ for thing in things}
        kinds |= {v.label for thing in things if (v := thing.paint.keywords.get('vehicle'))}
        for kind in seen.keys() & kinds:
            seen[kind] += 1
    shares = {kind: number / count for kind, number in seen.items()}
    assert all(0.02 < share < 0.3 for share in shares.values()), shares
    assert shares['train'] < 0.2 and shares['paint_motorcycle'] < 0.2


def test_the_domains_look_different(pictures):
    # Range of the channels of a pixel: the evening has a tint, but hardly a colour.
    colour = {domain: np.ptp(picture.image, axis=2).mean() for domain, picture in pictures.items()}
    assert colour['source'] > 1.5 * colour['target']


def edges_far_away(grey) -> float:
    """Returns the mean strength of the edges around the horizon, noise apart."""
    rows = cv2.GaussianBlur(grey, (0, 0), 2)[60:130]
    return np.hypot(*np.gradient(rows)).mean()


@pytest.mark.parametrize('index', range(3))
def test_night_is_darker_and_fog_has_less_contrast(index, monkeypatch):
    monkeypatch.setattr(scene, 'DOMAIN_NUMBER', dict.fromkeys(STYLES, 1))  # the same street
    grey = {
        domain: scene.draw_scene(0, domain, index).image.mean(axis=2)
        for domain in ('target', *CONDITIONS)
    }
    assert grey['night'].mean() < 0.6 * grey['target'].mean()
    assert grey['night'].mean() > 35 and grey['night'].std() > 15  # dark, and yet not black
    assert grey['fog'].mean() > 0.9 * grey['target'].mean()
    assert grey['fog'].std() < 0.85 * grey['target'].std()
    assert edges_far_away(grey['fog']) < 0.65 * edges_far_away(grey['target'])


@pytest.mark.parametrize(
    ('domain', 'num_objects', 'colour'),
    [('source', 98, (125.18, 127.51, 124.97)), ('target', 127, (92.76, 96.13, 94.15))],
)
def test_the_first_two_styles_are_what_they_were_without_the_others(domain, num_objects, colour):
    picture = scene.draw_scene(0, domain, 2)
    assert len(picture.objects) == num_objects
    assert picture.image.mean((0, 1)) == pytest.approx(colour, abs=0.05)


@pytest.mark.parametrize('domain', ['target', *CONDITIONS])
def test_a_scene_depends_on_seed_domain_and_index_alone(domain):
    first = scene.draw_scene(3, domain, 7)
    np.random.default_rng(0).random(5)
    again = scene.draw_scene(3, domain, 7)
    np.testing.assert_array_equal(first.image, again.image)
    assert first.objects == again.objects
    assert not np.array_equal(first.image, scene.draw_scene(4, domain, 7).image)
    assert not np.array_equal(first.image, scene.draw_scene(3, domain, 8).image)


def test_every_condition_has_streets_of_its_own():
    labels = [
        formats.label_ids(scene.draw_scene(3, domain, 7)) for domain in ('target', *CONDITIONS)
    ]
    shares = [np.mean(a == b) for a, b in combinations(labels, 2)]
    assert max(shares) < 0.8, shares


def test_nothing_depends_on_nproc(root, tmp_path):
    make_street_scenes.main([str(tmp_path / 'again'), *SMALL, '--nproc', '1'])
    assert snapshot(tmp_path / 'again') == snapshot(root)


def test_a_restart_draws_what_is_missing_alone(root, tmp_path, monkeypatch):
    before = snapshot(root)
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob('*.png')}
    lost = [root / 'gta' / 'labels' / '00002.png']
    lost += root.glob('cityscapes/leftImg8bit/val/*/*.png')
    for path in lost:
        path.unlink()
    make_street_scenes.main([str(root), *SMALL])
    assert snapshot(root) == before
    redrawn = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert redrawn == {*lost, root / 'gta' / 'images' / '00002.png'}


def check_acdc(split, conditions):
    config = {
        'type': 'ACDCDataset',
        'data_root': 'data/street_scenes/acdc/',
        'img_dir': f'rgb_anon/{split}',
        'ann_dir': f'gt/{split}',
        'conditions': conditions,
        'pipeline': [{'type': 'LoadImageFromFile'}, {'type': 'LoadAnnotations'}],
    }
    return check_dataset(DatasetUse('data.val', config, True, 19), full=True)


@pytest.mark.long
def test_styles_are_added_to_a_folder_of_an_older_version(old_root):
    before = snapshot(old_root)
    (advice,) = check_acdc('val', CONDITIONS).problems
    assert 'Draw the scenes with: ' in advice
    command = advice.partition('python tools/make_street_scenes.py ')[2].split()
    make_street_scenes.main([*command, *SMALL, '--nproc', '1'])

    for split, count in (('train', 4), ('val', 1)):
        both, night = check_acdc(split, CONDITIONS), check_acdc(split, 'night')
        assert both.problems == night.problems == []
        assert both.num_examined == 2 * count and night.num_examined == count
    for others in (None, 'rain'):
        (problem,) = check_acdc('val', others).problems
        assert "State conditions=['night', 'fog']" in problem and ' '.join(command) in problem
    after = snapshot(old_root)
    assert 'acdc/' in after.pop('README.txt').decode() and before.pop('README.txt')
    assert {name: after[name] for name in before} == before
    number = make_street_scenes.FIRST_VAL
    for condition in CONDITIONS:
        sequence = f'{condition.upper()}0201'
        name = f'{condition}/val/{sequence}/{sequence}_frame_000001'
        image, label = (
            np.asarray(Image.open(old_root / f'acdc/{kind}.png'))
            for kind in (f'rgb_anon/{name}_rgb_anon', f'gt/{name}_gt_labelTrainIds')
        )
        expected = scene.draw_scene(0, condition, number)
        np.testing.assert_array_equal(image, expected.image)
        np.testing.assert_array_equal(label, painted_train_ids(expected))
        assert set(np.unique(label)) <= {*range(len(ACDCDataset.CLASSES)), 255}


def test_scenes_are_drawn_in_any_size():
    small, large = (scene.draw_scene(0, 'source', 5, size) for size in (None, (960, 528)))
    assert small.image.shape == (264, 480, 3) and large.image.shape == (528, 960, 3)
    shares = [
        np.bincount(painted_train_ids(picture).ravel(), minlength=256) / picture.owner.size
        for picture in (small, large)
    ]
    assert np.abs(shares[0] - shares[1]).max() < 0.02


def test_another_seed_and_foreign_folders_are_refused(root, tmp_path):
    with pytest.raises(SystemExit, match='another seed'):
        make_street_scenes.main([str(root), '--seed', '1', *SMALL])
    (tmp_path / 'holiday.png').write_bytes(b'')
    with pytest.raises(SystemExit, match='not empty'):
        make_street_scenes.main([str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ['holiday.png']


def test_a_folder_of_an_older_version_has_a_seed_too(old_root):
    with pytest.raises(SystemExit, match='another seed'):
        make_street_scenes.main([str(old_root), '--seed', '10', *SMALL])
    assert (old_root / 'README.txt').read_text() == OLD_README


@pytest.mark.parametrize('arguments', [['--num-val', '-1'], ['--nproc', '0'], ['--seed', '-1']])
def test_impossible_numbers_are_refused(tmp_path, arguments, capsys):
    with pytest.raises(SystemExit):
        make_street_scenes.main([str(tmp_path / 'x'), *arguments])
    assert 'must' in capsys.readouterr().err


def test_entry_point_and_the_converters_after_it(tmp_path):
    script = REPOSITORY / 'tools' / 'make_street_scenes.py'
    counts = ['--num-source', '2', '--num-target', '1', '--num-val', '1']
    subprocess.run([sys.executable, str(script), *counts], cwd=tmp_path, check=True)
    root = tmp_path / 'data' / 'street_scenes'
    gta.main([str(root / 'gta')])
    cityscapes.main([str(root / 'cityscapes')])
    assert len(list(root.rglob('*_labelTrainIds.png'))) == 4
    assert (root / 'cityscapes' / 'val.txt').read_text() == 'dunmore/dunmore_000000_000019\n'
    assert (root / 'gta' / 'samples_with_class.json').exists()


@pytest.mark.parametrize('bend', [-0.01, 0.01])
def test_which_side_is_seen_round_a_bend(bend):
    view = camera(bend=bend, slope=0.2, offset=0.0)
    near, far = view.project([(-1.0, 1.0, 20.0), (-1.0, 1.0, 20.5)])
    # the right side of a thing at s = -1 is seen where its far edge lies further to the right
    assert (far[0] > near[0]) == (view.eye_seen_from(20.25)[0] > -1.0)
