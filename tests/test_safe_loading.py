"""Files from elsewhere run no code: checkpoints, resume states, weights, JSON configs."""

import contextlib
import errno
import io
import json
import os
import pickle
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from mmseg.engine.checkpoint import newest_loadable
from mmseg.models.weights import load_file
from mmseg.utils.user_error import UserError
from tests.tiny_runs import FEATURE_DISTANCE, UDA_CONFIG, only, run_experiment

pytestmark = pytest.mark.usefixtures('one_thread')


class Malicious:
    def __reduce__(self):
        return os.mkdir, ('it_ran',)


def as_zip(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def as_before_torch_1_6(content):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def as_plain_pickle(content):
    return pickle.dumps(content, protocol=2)


@pytest.fixture(params=[as_zip, as_before_torch_1_6, as_plain_pickle])
def evil(request):
    """The bytes of a checkpoint that makes a folder `it_ran` when it is unpickled carelessly."""
    state = {'weight': torch.zeros(1), 'harm': Malicious()}
    content = request.param({'meta': {'iter': 9}, 'state_dict': state, 'optimizer': {}})
    assert b'it_ran' in content
    return content


@pytest.fixture(autouse=True)
def nothing_runs(workplace):
    yield
    assert not os.path.exists(workplace / 'it_ran')


def test_the_trap_works(workplace, evil):
    """Loaded carelessly, the file does what these tests look for."""
    (workplace / 'evil.pth').write_bytes(evil)
    with contextlib.suppress(RuntimeError):  # a plain pickle runs, and is no checkpoint then
        torch.load('evil.pth', weights_only=False)
    os.rmdir('it_ran')


@pytest.mark.parametrize('option', ['--load-from', '--resume-from'])
def test_checkpoint(workplace, evil, option):
    from tools import train

    (workplace / 'evil.pth').write_bytes(evil)
    with pytest.raises(SystemExit, match=r'Error: evil\.pth is no checkpoint, is damaged, or'):
        train.main(
            [str(UDA_CONFIG), option, 'evil.pth',
             '--cfg-options', 'data.train.rare_class_sampling.min_pixels=0']
        )  # fmt: skip


def test_resume_state(copied_run, evil):
    """It is passed over with a warning, for the checkpoint before it."""
    with open(f'{copied_run.work_dir}/resume_9.pth', 'wb') as file:
        file.write(evil)
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    with open(only(f'{copied_run.work_dir}/*.log')) as file:
        assert 'resume_9.pth is no checkpoint' in file.read()
    assert not os.path.exists('it_ran')


@pytest.fixture
def address(evil, tmp_path, monkeypatch):
    """Where a server on this machine serves the file; downloads go to an empty cache."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Length', str(len(evil)))
            self.end_headers()
            self.wfile.write(evil)

        def log_message(self, *_):
            pass

    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_address[1]}/evil.pth'
        server.shutdown()


@pytest.mark.parametrize('where', ['address', 'file'])
def test_pretrained_weights(workplace, evil, address, where):
    (workplace / 'evil.pth').write_bytes(evil)
    path = 'evil.pth' if where == 'file' else address
    with pytest.raises(SystemExit, match=r'Error: .*evil\.pth is no checkpoint, is damaged, or'):
        run_experiment(UDA_CONFIG, f'model.pretrained={path}')


@pytest.mark.parametrize('form', [as_zip, as_before_torch_1_6])
@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_damaged_file_is_said_to_be_damaged(form):
    whole = form({'meta': {'iter': 9}, 'state_dict': {'weight': torch.zeros(3)}})
    draw = random.Random(0)
    refused = 0
    for _ in range(300):
        place = draw.randrange(len(whole))
        damaged = whole[:place] + draw.choice(
            [b'', bytes([draw.randrange(256)]) + whole[place + 1 :]]
        )
        with open('damaged.pth', 'wb') as file:
            file.write(damaged)
        try:
            load_file('damaged.pth')
        except UserError:
            refused += 1
    assert refused > 0


# Configs


def test_json_config_imports_nothing(workplace, monkeypatch, shared_run):
    from tools import train

    (workplace / 'harm.py').write_text("import os\nos.mkdir('it_ran')\n")
    monkeypatch.syspath_prepend(workplace)
    config = json.loads((shared_run.folder / shared_run.config).read_text())
    config['custom_imports'] = {'imports': ['harm']}
    (workplace / 'config.json').write_text(json.dumps(config))
    with pytest.raises(SystemExit, match=r'config\.json has custom_imports'):
        train.main(['config.json'])


def test_text_in_a_json_config_stays_text(workplace, shared_run):
    from mmseg.engine.config import load_config

    code = "__import__('os').mkdir('it_ran')"
    config = json.loads((shared_run.folder / shared_run.config).read_text())
    config['name'], config['exp'] = code, '{{ ' + code + ' }}'
    (workplace / 'config.json').write_text(json.dumps(config))
    cfg = load_config('config.json')
    assert cfg.name == code and cfg.exp == '{{ ' + code + ' }}'


def test_yaml_configs_are_refused(workplace):
    from tools import train

    # mmcv reads them with a loader that runs what they say.
    (workplace / 'config.yaml').write_text("model: !!python/object/apply:os.mkdir ['it_ran']\n")
    with pytest.raises(SystemExit, match=r'config\.yaml: configs are Python files .* or JSON'):
        train.main(['config.yaml'])


MEMORY = (MemoryError('full'), RuntimeError("DefaultCPUAllocator: can't allocate memory"))


@pytest.mark.parametrize('error', [*MEMORY, OSError(errno.EIO, 'Input/output error', 'disk.pth')])
def test_a_full_memory_or_a_broken_disk_is_no_damaged_file(tmp_path, monkeypatch, error):
    """A resume must not go back to an older state because the memory was full."""

    def fails(*_, **__):
        raise error

    path = tmp_path / 'resume_2.pth'
    path.touch()
    monkeypatch.setattr(torch, 'load', fails)
    with pytest.raises(Exception, match=r'disk\.pth: Input/output error|full|allocate') as found:
        load_file(str(path))
    assert isinstance(error, OSError) == isinstance(found.value, UserError)
    with pytest.raises(UserError if isinstance(error, OSError) else type(error)):
        newest_loadable(str(tmp_path), pytest.fail)


def test_what_is_no_checkpoint_is_passed_over(tmp_path):
    (tmp_path / 'resume_2.pth').write_bytes(as_zip([1]))
    said = []
    assert newest_loadable(str(tmp_path), said.append) is None
    assert said == [
        f'{tmp_path}/resume_2.pth holds a list, not a checkpoint. '
        'Going back to the checkpoint before it.'
    ]
