"""The report in a real browser: it loads from a file, fits narrow windows, and its script works."""

import json
import re
import shutil

import pytest

from tests.report_folders import add_log_line, write_records, write_run
from tools import report

webdriver = pytest.importorskip('selenium.webdriver', reason='selenium drives the browser')
BROWSER, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
if not (BROWSER and DRIVER):
    pytest.skip('there is no chromium with chromedriver here', allow_module_level=True)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """The report of a run with everything, beside another seed, a source-only run and a long name.

    What would be loaded if it were not escaped stands in names and warnings.
    """
    folder = tmp_path_factory.mktemp('runs')
    evil = '<img src="https://evil.example/x.png"><script>document.title = "evil"</script>'
    runs = [
        write_records(write_run(folder / 'subject', name='daformer')),
        write_records(write_run(folder / 'seed', seed=1)),
        write_run(folder / 'source', name=f'source_{"very_" * 20}long', uda=False, seed=2),
        write_run(folder / 'evil', name=evil, mious=(0.5,), load_from='/x' * 200),
    ]
    add_log_line(runs[0], '{"mode": "train", "iter": 40, "pseudo_label_weight": 0.5}\n')
    (runs[0] / '20261123_070000.log').write_text(f'mmseg - WARNING - {evil * 20}\n')
    return report.main([str(run) for run in runs])


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        'headless=new', 'no-sandbox', 'disable-gpu', 'disable-dev-shm-usage', 'no-first-run',
        'disable-background-networking', 'disable-component-update', 'disable-sync',
        f'user-data-dir={tmp_path_factory.mktemp("profile")}',
    ):  # fmt: skip
        options.add_argument(f'--{argument}')
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    """The browser with the page freshly opened from its file."""
    browser.set_window_size(1200, 900)
    _open(browser, page)
    return browser


def _open(browser, path):
    for kind in ('browser', 'performance'):
        browser.get_log(kind)  # what was there before is dropped
    browser.get(f'file://{path}')


def _problems(browser):
    """What a page that was just opened must not do: messages, requests, broken images."""
    problems = [entry['message'] for entry in browser.get_log('browser')]
    for entry in browser.get_log('performance'):
        event = json.loads(entry['message'])['message']
        if event['method'] == 'Network.requestWillBeSent':
            address = event['params']['request']['url']
            if not address.startswith('data:') and address != browser.current_url:
                problems.append(f'request: {address}')
    broken = browser.execute_script(
        'return [...document.images].filter(image => !(image.complete && image.naturalWidth > 0))'
        '.map(image => image.alt)'
    )
    return problems + [f'broken image: {alt}' for alt in broken]


def _find(browser, selector):
    return browser.find_element('css selector', selector)


def test_it_loads_without_messages_requests_or_broken_images(opened):
    assert opened.execute_script('return document.images.length') > 20
    assert _problems(opened) == []
    assert opened.title == 'daformer, seed 0: report'


@pytest.mark.parametrize(
    ('pattern', 'replacement', 'says'),
    [
        (r'base64,/9j/[^"]*', 'base64,/9j/broken', 'broken image: '),
        (r'src="data:image/jpeg[^"]*', 'src="file:///nowhere.png', 'nowhere.png'),
        (r"'use strict';", 'nonsense();', 'Content Security Policy'),
    ],
)
def test_a_page_with_a_fault_is_found_out(browser, page, tmp_path, pattern, replacement, says):
    with open(page) as file:
        text, count = re.subn(pattern, replacement, file.read(), count=1)
    assert count == 1
    (tmp_path / 'faulty.html').write_text(text)
    _open(browser, tmp_path / 'faulty.html')
    assert any(says in problem for problem in _problems(browser))


@pytest.mark.parametrize('width', [1200, 600])
def test_nothing_is_wider_than_the_window(opened, width):
    opened.set_window_size(width, 900)
    opened.execute_script('for (const d of document.querySelectorAll("details")) d.open = true')
    inner, scroll = opened.execute_script(
        'return [innerWidth, document.documentElement.scrollWidth]'
    )
    assert inner == width and scroll <= inner
    # Wide tables scroll within themselves.
    wide = opened.execute_script(
        """return [...document.querySelectorAll('main *')].filter(part =>
        part.getBoundingClientRect().right > innerWidth + 1 && !part.closest('.scrolls, pre'))
        .map(part => part.outerHTML.slice(0, 80))"""
    )
    assert wide == []


def test_a_run_is_hidden_in_the_curves_and_shown_again(opened):
    shown = (
        'return [...document.querySelectorAll(\'svg [data-run="1"]\')]'
        '.map(part => getComputedStyle(part).display !== "none")'
    )
    button = _find(opened, 'button[data-toggle="1"]')
    assert all(opened.execute_script(shown))
    button.click()
    assert button.get_attribute('aria-pressed') == 'false'
    assert len(opened.execute_script(shown)) > 3 and not any(opened.execute_script(shown))
    assert _find(opened, 'svg polyline[data-run="0"]').is_displayed()
    button.click()
    assert all(opened.execute_script(shown))


def test_a_picture_is_enlarged_and_closed_again(opened):
    picture = _find(opened, 'img.enlarges')
    picture.click()
    dialog = _find(opened, 'dialog')
    large = _find(opened, 'dialog img')
    assert dialog.is_displayed() and large.get_attribute('src') == picture.get_attribute('src')
    large.click()
    assert not dialog.is_displayed()


def test_a_table_is_sorted_by_a_column(opened):
    def column():
        cells = opened.find_elements('css selector', '#iou tbody tr td:nth-child(2)')
        return [cell.text for cell in cells]

    assert column() == ['90.0', '40.0', '–']
    head = _find(opened, '#iou th:nth-child(2)')
    opened.execute_script('arguments[0].scrollIntoView({block: "center"})', head)
    head.click()
    assert column() == ['90.0', '40.0', '–'] and head.get_attribute('aria-sort') == 'descending'
    head.click()
    assert column() == ['–', '40.0', '90.0']
    assert _find(opened, '#iou tfoot td').text == 'mIoU'
