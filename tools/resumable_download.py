"""Downloading a large file: it goes on where it broke off, is checked, and appears only whole."""

import contextlib
import hashlib
import http.client
import os
import os.path as osp
import sys
import urllib.error
import urllib.request

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte


class UnreachableError(Exception):
    """The network, or whoever is at its other end, does not give the file."""


class CorruptError(Exception):
    """All bytes came, and they are not the ones that were promised."""


def download(url, target, checksum=''):
    """Download a file by way of a partial one beside it, which a later call goes on with.

    Args:
        url (str): http or https.
        target (str): Its path; missing folders are made.
        checksum (str): Beginning of its SHA-256; '' if that is not known.

    Raises:
        UnreachableError: The bytes that came are kept for the next call.
        CorruptError: The checksum is another one; the partial file is removed.
    """
    os.makedirs(osp.dirname(target) or '.', exist_ok=True)
    # Named after the URL, lest the halves of two servers' files come together.
    mark = hashlib.sha256(url.encode()).hexdigest()[:8]
    part = f'{target}.{mark}.part'
    try:
        _fetch_rest(url, part)
    except urllib.error.HTTPError as error:
        raise UnreachableError(f'the server answers {error.code} {error.reason}') from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as e:
        kept = osp.getsize(part) if osp.isfile(part) else 0
        note = f' ({_mib(kept)} are kept: the same command goes on from there)' if kept else ''
        raise UnreachableError(f'{getattr(e, "reason", e)}{note}') from e
    found = _sha256(part)
    if not found.startswith(checksum):
        os.remove(part)
        raise CorruptError(
            f'the file at {url} has the SHA-256 {found[:12]}…, which should begin with {checksum}. '
            'It was removed: try again, perhaps over another network.'
        )
    os.replace(part, target)


def _fetch_rest(url, part):
    """Append to `part` what it lacks; raises what urllib raises, and if the stream ends early."""
    have = osp.getsize(part) if osp.isfile(part) else 0
    request = urllib.request.Request(url, headers={'User-Agent': 'daformer'})
    if have:
        request.add_header('Range', f'bytes={have}-')
    with contextlib.ExitStack() as stack:
        try:
            response = stack.enter_context(urllib.request.urlopen(request, timeout=TIMEOUT))
        except urllib.error.HTTPError as error:
            error.close()
            # Nothing lies behind the last byte: either all is there, or the file has changed.
            if not (have and error.code == 416):
                raise
            if error.headers.get('Content-Range') == f'bytes */{have}':
                return
            os.remove(part)
            return _fetch_rest(url, part)
        if response.status != 206:  # the server sends the file from its beginning
            have = 0
        length = response.headers.get('Content-Length')
        total = have + int(length) if length else None
        with open(part, 'ab' if have else 'wb') as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                _progress(have, total)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and have < total:
            raise ConnectionError(f'the connection broke off at {_mib(have)} of {_mib(total)}')


def _progress(have, total):
    """A line that is written over on a terminal; in a log, nothing until the end."""
    done = have == total
    if sys.stderr.isatty() or done:
        share = f' of {_mib(total)} ({100 * have // total} %)' if total else ''
        print(f'\r  {_mib(have)}{share}', end='\n' if done else '', file=sys.stderr, flush=True)


def _mib(count):
    return f'{count / 2**20:.1f} MiB'


def _sha256(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
