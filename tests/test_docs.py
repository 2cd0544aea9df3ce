"""README and docs stay true: their commands parse, their links lead somewhere, and some are run."""

import argparse
import importlib
import os
import re
import shutil

import pytest

from tests.doc_commands import PAGES, commands_of, run, tool_of
from tests.tiny_runs import CHECKOUT

COMMANDS = [command for page in PAGES for command in commands_of(page)]
RUNNABLE = sorted({command.page for command in COMMANDS if command.runnable})
# Programs that are not this project's.
OTHERS = {'.', 'cd', 'git', 'mkdir', 'pip', 'pre-commit', 'python', 'tensorboard', 'torchrun'}
FOLDERS = ('daformer_runs', 'demo', 'mmseg', 'tools')  # of code
# What makes the runnable commands a matter of seconds; `make test-all` runs them as they are.
SMALLER = {
    r'--num-source \d+': '--num-source 8',
    r'--num-target \d+': '--num-target 6',
    r'--num-val \d+': '--num-val 3',
    r'runner\.max_iters=\d+': 'runner.max_iters=2',
    r'evaluation\.interval=\d+': 'evaluation.interval=2',
    r'log_config\.interval=\d+': 'log_config.interval=1',
    r'checkpoint_config\.interval=\d+': 'checkpoint_config.interval=2',
}


class _ParsedError(Exception):
    """Raised where the arguments of a command are found to be good."""


@pytest.mark.parametrize('command', COMMANDS, ids=str)
def test_command_is_understood(command, monkeypatch):
    program, *arguments = command.words
    tool = tool_of(command.words)
    if tool is not None:
        name, arguments = tool
        for path in arguments:
            if re.fullmatch(r'(configs|demo|tools)/[\w/.-]+\.\w+', path):
                is_example = f'example {path}\n' in (CHECKOUT / command.page).read_text()
                assert is_example or (CHECKOUT / path).exists(), path
        module = importlib.import_module(name)
        if not arguments:  # a mention
            return
        if hasattr(module, 'parse_args'):
            module.parse_args(_filled_in(arguments))
            return
        # A tool that parses its arguments on the way.
        parse = argparse.ArgumentParser.parse_args

        def parsed(*args):
            parse(*args)
            raise _ParsedError

        monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parsed)
        with pytest.raises(_ParsedError):
            module.main(_filled_in(arguments))
    elif program == 'make':
        targets = re.findall(r'^([\w-]+):', (CHECKOUT / 'Makefile').read_text(), re.M)
        assert set(arguments) <= set(targets)
    elif program == 'sh':
        assert (CHECKOUT / arguments[0]).is_file()
    else:
        assert program in OTHERS


def _filled_in(arguments):
    """Arguments with numbers in place of what stands for one, such as N."""
    return ['2' if re.fullmatch('N|M', word) else word for word in arguments if word != '...']


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_to_files(page):
    text = (CHECKOUT / page).read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        path, _, anchor = target.partition('#')
        if path.startswith(('http:', 'https:')):
            continue
        file = (CHECKOUT / page).parent / path if path else CHECKOUT / page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r'^#+ (.*)', file.read_text(encoding='utf-8'), re.M)
            anchors = [re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles]
            assert anchor in anchors, target


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that looks like a fresh clone, as the current one."""
    for path in CHECKOUT.iterdir():
        if path.name in ('configs', 'docs'):
            ignored = shutil.ignore_patterns('generated')
            shutil.copytree(path, tmp_path / path.name, ignore=ignored)
        elif path.name in ('daformer_runs', 'demo', 'mmseg', 'tools') or path.suffix in (
            '.py',
            '.sh',
        ):
            os.symlink(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures('checkout', 'one_thread')
@pytest.mark.parametrize('page', RUNNABLE)
def test_runnable_commands_run(page):
    for command in COMMANDS:
        if command.page == page and command.runnable:
            text = command.text
            for pattern, smaller in SMALLER.items():
                text = re.sub(pattern, smaller, text)
            run(type(command)(page, text, True))


@pytest.mark.long
@pytest.mark.usefixtures('checkout')
@pytest.mark.parametrize('page', RUNNABLE)
def test_runnable_commands_run_as_they_are(page):
    for command in COMMANDS:
        if command.page == page and command.runnable:
            run(command)


def test_the_architecture_names_files_that_exist():
    text = (CHECKOUT / 'docs/architecture.md').read_text(encoding='utf-8')
    named = re.findall(r'\b((?:mmseg|daformer_runs|tools)/[\w/]+\.py|\w+\.py)\b', text)
    assert len(named) > 15
    for path in named:
        assert (CHECKOUT / path).is_file(), path
