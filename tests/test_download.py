"""tools/download.py against a server on this machine that corrupts, refuses and breaks off."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from tests.tiny_runs import CHECKOUT, run_python
from tools import download

CONTENT = bytes(range(256)) * 20000  # 5 MB: several chunks
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()
FIRST = f'/mit_b5_20220624-{CHECKSUM[:8]}.pth'
SECOND = '/nvidia/mit-b5/resolve/main/pytorch_model.bin'
TARGET = Path('pretrained/mit_b5.pth')


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT under every path, in the way that the server's `moods` say."""

    def do_GET(self):
        server = self.server
        if self.path in (FIRST, SECOND):
            server.requests.append((self.command, self.path, self.headers.get('Range')))
        mood = server.moods.get(self.path)
        if mood == 'refuse':
            return self.send_error(403, 'Forbidden')
        content = b'x' + CONTENT[1:] if mood == 'corrupt' else CONTENT
        asked = re.match(r'bytes=(\d+)-', self.headers.get('Range') or '')
        first = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header('Content-Length', str(len(content) - first))
        self.send_header('ETag', f'"{CHECKSUM}"')
        self.send_header('X-Repo-Commit', '0' * 40)
        self.end_headers()
        end = len(content)
        if mood == 'break off' and self.command == 'GET':
            end = end // 2
            del server.moods[self.path]
        if self.command == 'GET':
            self.wfile.write(content[first:end])
        return None

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The server, in place of both hosts; an empty current folder."""
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.moods, server.requests = {}, []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f'http://127.0.0.1:{server.server_address[1]}'
        monkeypatch.setattr(download, 'OPENMMLAB', url)
        monkeypatch.setattr(huggingface_hub.constants, 'ENDPOINT', url)
        template = url + '/{repo_id}/resolve/{revision}/{filename}'
        monkeypatch.setattr(huggingface_hub.constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        monkeypatch.setitem(download.ENCODERS, 'mit_b5', CHECKSUM[:8])
        monkeypatch.chdir(tmp_path)
        for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.shutdown()


def assert_downloaded():
    assert TARGET.read_bytes() == CONTENT
    assert os.listdir('pretrained') == ['mit_b5.pth']


def test_a_file_is_downloaded_once(server, capsys):
    download.main([])
    assert_downloaded()
    download.main(['mit_b5'])
    assert 'is there already' in capsys.readouterr().out
    assert server.requests == [('GET', FIRST, None)]


@pytest.mark.parametrize(
    ('mood', 'says'),
    [('refuse', '403: Forbidden'), ('corrupt', 'hash value'), ('break off', 'hash value')],
)
def test_the_second_place_is_asked_where_the_first_fails(server, capsys, mood, says):
    server.moods = {FIRST: mood}
    download.main([])
    assert_downloaded()
    assert says in capsys.readouterr().err
    assert [request[1] for request in server.requests[:2]] == [FIRST, SECOND]


def test_an_interrupted_download_is_resumed(server, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, 'DOWNLOAD_CHUNK_SIZE', 1 << 20)
    server.moods = {FIRST: 'refuse', SECOND: 'break off'}
    download.main([])
    assert server.requests[-1] == ('GET', SECOND, f'bytes={2 << 20}-')
    assert_downloaded()


def test_without_a_network_it_says_what_to_do_by_hand(server, monkeypatch, capsys):
    monkeypatch.setattr(download, 'OPENMMLAB', 'http://127.0.0.1:1')
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(SystemExit, match=rf'^Error: .* put it at {TARGET}\.$'):
        download.main([])
    printed = capsys.readouterr()
    assert f'http://127.0.0.1:1{FIRST} -> {TARGET}' in printed.out
    assert f'https://huggingface.co{SECOND} -> {TARGET}' in printed.out
    assert 'Connection refused' in printed.err
    assert os.listdir('pretrained') == []


def test_urls_are_those_of_mmsegmentations_configs(monkeypatch):
    import mmseg

    folder = Path(mmseg.__path__[-1]) / '.mim' / 'configs' / 'segformer'
    text = ''.join(path.read_text() for path in sorted(folder.glob('*.py')))
    asked = []
    monkeypatch.setattr(
        download.torch.hub, 'download_url_to_file', lambda *args, **kwargs: asked.append(args[0])
    )
    for name in download.ENCODERS:
        download.from_openmmlab(name, '')
    assert len(asked) == 6 and all(f"'{url}'" in text for url in asked)


@pytest.mark.parametrize('command', [pytest.param('python', marks=pytest.mark.long), 'sh'])
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
