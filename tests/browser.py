"""A look at a page in a real browser, at the width of a phone: its errors, its figures and its letters."""

import json
import os
import re
import shutil
import subprocess
from html import unescape

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = 390
"""Pixels across."""
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"),
    *("--enable-logging=stderr", "--virtual-time-budget=10000", "--window-size=1000,1400"),
)
LOOKING = """<!doctype html><iframe src="%s" width="%d" height="1400" onload="look(this)"></iframe><pre></pre>
<script>
function look(frame) {
  const page = frame.contentDocument, body = page.body, pictures = [...page.images];
  const words = [...body.querySelectorAll("p, li, td, th, figcaption, h1, h2")].filter(
    (one) => one.offsetParent && one.innerText.trim());
  document.querySelector("pre").innerText = JSON.stringify({
    title: page.title,
    width: Math.max(page.documentElement.scrollWidth, body.scrollWidth),
    figures: pictures.length,
    empty: pictures.filter((one) => !(one.complete && one.naturalWidth > 1)).map((one) => one.alt || one.src),
    unnamed: pictures.filter((one) => !one.alt).map((one) => one.src.slice(0, 60)),
    small: words.filter((one) => parseFloat(frame.contentWindow.getComputedStyle(one).fontSize) < 11)
      .map((one) => one.innerText.slice(0, 40)),
    letters: body.innerText.length,
  });
}
</script>"""


def looked_at(page, scratch):
    """What a browser says of a page: see `LOOKING`; and what its console complained of.

    Args:
        page: of an HTML file, in whose folder a second one is put for a moment.
        scratch: an empty folder for the browser.
    """
    frame = page.with_name(f"looking.{os.getpid()}.html")
    frame.write_text(LOOKING % (page.name, PHONE), encoding="utf-8")
    try:
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={scratch}", "--dump-dom", frame.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    finally:
        frame.unlink()
    (found,) = re.findall(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(unescape(found)) | {"console": console}


def assert_readable(found):
    """No complaint, no empty figure, nothing wider than a phone but what scrolls, no tiny letters."""
    assert not found["console"]
    assert not found["empty"]
    assert not found["unnamed"]
    assert not found["small"]
    assert found["width"] <= PHONE
    assert found["letters"] > 200
