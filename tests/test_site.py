"""The site that `make docs` built, looked at in a browser where there is one."""

import pathlib

import browser
import pytest
from browser import assert_readable, looked_at

SITE = pathlib.Path(__file__).parents[1] / "docs" / "_build" / "html"
PAGES = ("index", "idea", "tutorials/table", "tutorials/research", "tutorials/team", "comparison", "results")


@pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium on this machine")
@pytest.mark.skipif(not (SITE / "idea.html").exists(), reason="the site is not built; make docs does it")
@pytest.mark.parametrize("name", PAGES)
def test_its_main_pages_are_readable_on_a_phone(name, tmp_path):
    found = looked_at(SITE / f"{name}.html", tmp_path)
    assert_readable(found)
    assert found["figures"] >= (name == "idea")
