"""The shell commands that README and docs give: finding them, and calling what they start here.

Blocks that begin with three backticks and ``sh`` hold commands; after ``sh runnable`` they are run.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass

from tests.tiny_runs import CHECKOUT

PAGES = sorted(
    str(path.relative_to(CHECKOUT))
    for path in [*CHECKOUT.glob('*.md'), *CHECKOUT.glob('docs/*.md')]
)
_BLOCK = re.compile(r'^```sh( runnable)?\n(.*?)^```', re.M | re.S)
_ANY_BLOCK = re.compile(r'^```.*?^```', re.M | re.S)
_INLINE = re.compile(r'`((?:python|torchrun|sh|make) [^`]+)`')


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        page: its path from the checkout.
        text: as it stands there, continued lines joined.
        runnable: whether the page says so.
    """

    page: str
    text: str
    runnable: bool = False

    @property
    def words(self):
        """What a shell makes of it, without comments and without variables before the command."""
        words = shlex.split(self.text, comments=True)
        if '>' in words:
            words = words[: words.index('>')]
        while words and re.match(r'[A-Z_]+=', words[0]):
            words.pop(0)
        return words

    def __str__(self):
        return f'{self.page}: {self.text}'


def commands_of(page):
    """Returns the commands of a page, those in its sentences and tables included."""
    text = (CHECKOUT / page).read_text(encoding='utf-8')
    found = []
    for runnable, block in _BLOCK.findall(text):
        for line in block.replace('\\\n', ' ').splitlines():
            command = Command(page, line.strip(), bool(runnable))
            if command.words:
                found.append(command)
    inline = _INLINE.findall(_ANY_BLOCK.sub('', text))
    return found + [Command(page, command.replace('\n', ' ')) for command in inline]


def tool_of(words):
    """What a command calls of this project, as (module name, arguments); None if it is no tool."""
    if words[0] == 'torchrun':
        script = next((i for i, word in enumerate(words) if word.endswith('.py')), None)
        return None if script is None else tool_of(['python', *words[script:]])
    if words[0] != 'python' or words[1:3] == ['-m', 'pip']:
        return None
    if words[1] == '-m':
        return words[2], words[3:]
    return words[1].removesuffix('.py').replace('/', '.'), words[2:]


def run(command):
    """Run a command in the current folder, one of a tool in this process; raises if it fails."""
    tool = tool_of(command.words)
    if tool is not None:
        name, arguments = tool
        importlib.import_module(name).main(arguments)
        return
    # A set-up is what the tests run in; make only says here how it would do it.
    text = command.text.replace('make ', f'make -C {CHECKOUT} --dry-run ')
    environment = {**os.environ, 'PYTHON': sys.executable}
    result = subprocess.run(
        text, shell=True, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f'{command}\n{result.stdout}\n{result.stderr}'
