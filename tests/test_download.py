"""tools/download.py against a server on this machine that breaks off, corrupts and refuses."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.tiny_runs import CHECKOUT, run_python
from tools import download, resumable_download

CONTENT = bytes(range(256)) * 20000  # 5 MB: several chunks
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()[:8]


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT under every path, in the way that the server's `mood` says."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get('Range')))
        mood = server.moods.get(self.path, 'serve')
        if mood == 'refuse':
            return self.send_error(403, 'Forbidden')
        content = CONTENT
        if mood == 'corrupt':
            content = b'x' + CONTENT[1:]
        first = 0
        asked = re.match(r'bytes=(\d+)-', self.headers.get('Range') or '')
        if asked and mood != 'no ranges':
            first = int(asked[1])
            if first >= len(content):
                self.send_response(416)
                self.send_header('Content-Range', f'bytes */{len(content)}')
                self.end_headers()
                return None
        self.send_response(206 if first else 200)
        self.send_header('Content-Length', str(len(content) - first))
        self.end_headers()
        end = len(content) // 2 if mood == 'break off' else len(content)
        self.wfile.write(content[first:end])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The server, in place of both hosts; an empty current folder."""
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.moods, server.requests = {}, []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        server.url = f'http://127.0.0.1:{server.server_address[1]}'
        monkeypatch.setattr(download, 'OPENMMLAB', f'{server.url}/openmmlab')
        monkeypatch.setattr(download, 'HUGGING_FACE', f'{server.url}/hf')
        monkeypatch.setitem(download.OPENMMLAB_NAMES, 'mit_b5', FILE)
        monkeypatch.chdir(tmp_path)
        for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.shutdown()


FILE = f'mit_b5_20220624-{CHECKSUM}.pth'
FIRST, SECOND = f'/openmmlab/{FILE}', '/hf/mit-b5/resolve/main/pytorch_model.bin'
TARGET = Path('pretrained/mit_b5.pth')


def assert_downloaded():
    assert TARGET.read_bytes() == CONTENT
    assert os.listdir('pretrained') == ['mit_b5.pth']


def test_a_file_is_downloaded_once(server, capsys):
    download.main([])
    assert_downloaded()
    assert '4.9 MiB of 4.9 MiB (100 %)' in capsys.readouterr().err
    download.main(['mit_b5'])
    assert 'is there already' in capsys.readouterr().out
    assert server.requests == [(FIRST, None)]


def test_a_download_that_broke_off_goes_on(server, capsys):
    server.moods = {FIRST: 'break off', SECOND: 'refuse'}
    with pytest.raises(SystemExit):
        download.main([])
    assert not TARGET.exists()
    assert '2.4 MiB are kept' in capsys.readouterr().err
    server.moods = {}
    download.main([])
    assert server.requests[-1] == (FIRST, f'bytes={len(CONTENT) // 2}-')
    assert_downloaded()


def test_a_server_without_ranges_sends_all_again(server):
    server.moods = {FIRST: 'break off', SECOND: 'refuse'}
    with pytest.raises(SystemExit):
        download.main([])
    server.moods = {FIRST: 'no ranges'}
    download.main([])
    assert_downloaded()


@pytest.mark.parametrize('too_many', [0, 10])
def test_a_partial_file_with_nothing_left_to_fetch(server, monkeypatch, too_many):
    with monkeypatch.context() as patch:
        patch.setattr(resumable_download.os, 'replace', lambda *paths: None)
        download.main([])
    (part,) = TARGET.parent.iterdir()
    part.write_bytes(part.read_bytes() + b'x' * too_many)
    server.requests.clear()
    download.main([])
    assert_downloaded()
    assert len(server.requests) == (2 if too_many else 1)


def test_a_corrupt_file_is_removed(server, capsys):
    server.moods = {FIRST: 'corrupt'}
    with pytest.raises(SystemExit, match=rf'{FIRST} has the SHA-256 .* begin with {CHECKSUM}'):
        download.main([])
    assert os.listdir('pretrained') == []
    assert [path for path, _ in server.requests] == [FIRST]


def test_the_second_place_is_asked_where_the_first_refuses(server, capsys):
    server.moods = {FIRST: 'refuse'}
    download.main([])
    assert_downloaded()
    assert 'the server answers 403 Forbidden' in capsys.readouterr().err
    assert [path for path, _ in server.requests] == [FIRST, SECOND]


def test_without_a_network_it_says_what_to_do_by_hand(server, monkeypatch, capsys):
    monkeypatch.setattr(download, 'OPENMMLAB', 'http://127.0.0.1:1')
    monkeypatch.setattr(download, 'HUGGING_FACE', 'http://127.0.0.1:1')
    with pytest.raises(SystemExit, match=rf'put it at {TARGET}'):
        download.main([])
    printed = capsys.readouterr()
    assert f'http://127.0.0.1:1/{FILE} -> {TARGET}' in printed.out
    assert 'Connection refused' in printed.err


def test_addresses_are_those_of_mmsegmentations_configs():
    import mmseg

    folder = Path(mmseg.__path__[-1]) / '.mim' / 'configs' / 'segformer'
    text = ''.join(path.read_text() for path in sorted(folder.glob('*.py')))
    assert len(download.OPENMMLAB_NAMES) == 6
    for name, file_name in download.OPENMMLAB_NAMES.items():
        (url, checksum), _ = download.addresses(name)
        assert f"'{url}'" in text
        assert file_name == f'{name}_20220624-{checksum}.pth' and len(checksum) == 8


@pytest.mark.parametrize('command', ['python', 'sh'])
def test_a_name_that_does_not_exist(tmp_path, command):
    if command == 'python':
        result = run_python(CHECKOUT / 'tools/download.py', 'mit_b6', cwd=tmp_path)
    else:
        result = subprocess.run(
            ['sh', CHECKOUT / 'tools/download_checkpoints.sh', 'mit_b6'],
            cwd=tmp_path, env={**os.environ, 'PYTHON': sys.executable},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert result.returncode == 2 and result.stdout == ''
    assert 'there is no mit_b6: choose from mit_b0, mit_b1' in result.stderr
    assert os.listdir(tmp_path) == []
