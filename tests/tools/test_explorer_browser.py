"""The explorer's page in a headless Chromium, as a visitor uses it."""

import json
import shutil

import pytest

pytest.importorskip('selenium', reason='a browser test needs selenium')
pytest.importorskip('gradio', reason='the explorer needs Gradio')

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from support.explorer_pages import COUNT, build_actions, served, write_noise

PROGRAMS = 'chromium', 'chromedriver'
MISSING = [name for name in PROGRAMS if not shutil.which(name)]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f'no {" and no ".join(MISSING)} here'
)


@pytest.fixture(scope='module')
def address(shapes):
    with served(build_actions(shapes)) as address:
        yield address


@pytest.fixture(scope='module')
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which('chromium')
    for argument in (
        '--headless=new',
        '--no-sandbox',
        '--disable-dev-shm-usage',
        '--window-size=1400,1000',
        # Tabs in the background must keep working.
        '--disable-background-timer-throttling',
        '--disable-renderer-backgrounding',
    ):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
    service = webdriver.ChromeService(shutil.which('chromedriver'))
    browser = webdriver.Chrome(options, service)
    yield browser
    browser.quit()


class Visitor:
    """A browser tab that shows the page."""

    def __init__(self, browser, address):
        browser.switch_to.new_window('tab')
        browser.get(address)
        self.browser = browser
        self.tab = browser.current_window_handle
        # The page may replace an element while it is being read.
        self.wait = WebDriverWait(
            browser, 20, ignored_exceptions=[StaleElementReferenceException]
        )
        self.wait_for('line', 'detections shown')

    def find(self, name):
        return self.browser.find_element(By.ID, name)

    def wait_for(self, name, words):
        """Wait until an element's text has some words; return the text."""
        self.browser.switch_to.window(self.tab)
        self.wait.until(
            lambda _: words in self.find(name).text,
            f'{name} does not have {words!r}',
        )
        return self.wait.until(lambda _: self.find(name).text)

    def upload(self, file):
        self.browser.switch_to.window(self.tab)
        button = self.browser.find_element(By.CSS_SELECTOR, '[type=file]')
        button.send_keys(str(file))

    def click(self, across, down):
        """Click the picture at fractions of its width and height."""
        self.browser.switch_to.window(self.tab)
        image = self.find('picture').find_element(By.TAG_NAME, 'img')
        # The picture is in the middle of an element that may be larger.
        width, height = (
            float(image.get_property(name))
            for name in ('naturalWidth', 'naturalHeight')
        )
        scale = min(image.size['width'] / width, image.size['height'] / height)
        ActionChains(self.browser).move_to_element_with_offset(
            image,
            (across - 0.5) * width * scale,
            (down - 0.5) * height * scale,
        ).click().perform()

    def slide(self, name, value):
        self.browser.switch_to.window(self.tab)
        number = self.find(name).find_element(By.CSS_SELECTOR, '[type=number]')
        number.send_keys(Keys.CONTROL, 'a')
        number.send_keys(str(value), Keys.ENTER, Keys.TAB)

    def source(self, name):
        """The URL of a picture."""
        self.browser.switch_to.window(self.tab)
        image = self.find(name).find_element(By.TAG_NAME, 'img')
        return image.get_attribute('src')


@pytest.fixture(scope='module')
def visitor(browser, address):
    return Visitor(browser, address)


def test_the_first_example_is_shown_with_its_locations(visitor):
    assert 'image 96 x 96, input 192 x 192' in visitor.find('line').text
    for level in range(5):
        text = visitor.wait_for(f'text-{level}', f'P{3 + level}')
        assert 'training: ' in text
        for name in ('anchors', 'map', 'mask'):
            assert visitor.source(f'{name}-{level}').startswith('http')


def test_a_click_shows_the_locations_under_it(visitor):
    # At (144, 48) of an input of 192 x 192
    visitor.click(0.75, 0.25)
    visitor.wait_for('text-0', 'row 6, column 18')
    visitor.wait_for('text-1', 'row 3, column 9')
    visitor.wait_for('text-3', 'row 1, column 2')  # rounded from 0.75 and 2.25


def test_thresholds_change_the_page(visitor):
    visitor.slide('score', 0)
    visitor.wait_for('line', f'{COUNT} of {COUNT} detections')
    before = visitor.source('mask-0')
    visitor.slide('mask', 0)
    visitor.wait.until(lambda _: visitor.source('mask-0') != before)
    visitor.slide('score', 1)
    visitor.wait_for('line', f'0 of {COUNT} detections')


def test_a_broken_file_is_explained_and_skipped(visitor, tmp_path):
    (tmp_path / 'text.jpg').write_text('no image')
    visitor.upload(tmp_path / 'text.jpg')
    toast = visitor.wait.until(
        lambda b: b.find_elements(By.CSS_SELECTOR, '.toast-body')
    )
    assert 'text.jpg' in toast[0].text
    assert 'image 96 x 96' in visitor.find('line').text
    assert 'Error' not in visitor.find('picture').text
    visitor.upload(write_noise(tmp_path / 'good.png', 60, 80))
    visitor.wait_for('line', 'image 80 x 60, input 192 x 144')
    assert 'training' not in visitor.wait_for('text-0', 'P3')


def test_two_visitors_at_once(visitor, browser, address, tmp_path):
    second = Visitor(browser, address)
    visitor.upload(write_noise(tmp_path / 'first.png', 70, 50))
    second.upload(write_noise(tmp_path / 'second.png', 30, 90))
    visitor.wait_for('line', 'image 50 x 70')
    second.wait_for('line', 'image 90 x 30')
    visitor.click(0.25, 0.75)
    second.click(0.25, 0.75)
    # Inputs of 137 x 192 and of 192 x 64
    visitor.wait_for('text-0', 'row 18, column 4')
    second.wait_for('text-0', 'row 6, column 6')
    visitor.wait_for('line', 'image 50 x 70')


def test_the_gates_are_shown_for_each_image(visitor, tmp_path):
    visitor.browser.switch_to.window(visitor.tab)
    tabs = visitor.browser.find_elements(By.CSS_SELECTOR, '[role=tab]')
    next(tab for tab in tabs if tab.text == 'Gates').click()
    visitor.wait.until(
        lambda _: visitor.find('gates').find_elements(By.TAG_NAME, 'img')
    )
    before = visitor.source('gates')
    visitor.upload(write_noise(tmp_path / 'next.png', 40, 40))
    visitor.wait.until(lambda _: visitor.source('gates') != before)


def test_nothing_leaves_the_machine(browser, address):
    """Checks the requests of all tests above."""
    urls = [
        json.loads(entry['message'])['message']['params']['request']['url']
        for entry in browser.get_log('performance')
        if '"Network.requestWillBeSent"' in entry['message']
    ]
    assert len(urls) > 20
    own = address.rstrip('/') + '/', 'data:', 'blob:', 'chrome:', 'about:'
    assert [url for url in urls if not url.startswith(own)] == []
