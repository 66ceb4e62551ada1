"""A headless Chromium, driven over its remote debugging pipe: pages are opened, looked at and photographed.

    with Browser() as browser:
        page = browser.open("report.html")
        self.assertEqual(page.run("document.title"), "q4 against f16")

    python3 browser.py report.html report.png 1280 900     # photographs a page; the height may be left out

No network is used; a request for anything but the page itself and data: addresses is kept in page.requests.
"""
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile

NAMES = ("chromium", "chromium-browser", "google-chrome")


def why_missing():
    """Why there is no browser to test with, or None. Ubuntu's package is a stub for a snap, which containers lack."""
    for name in NAMES:
        path = shutil.which(name)
        if not path:
            continue
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if done.returncode == 0 and "snap" not in done.stdout + done.stderr:
            return None
        return f"{name} does not run: {(done.stderr or done.stdout).strip()[:200]}"
    return "no Chromium on this machine"


class Browser:
    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="lq-browser-")
        commands, answers = os.pipe(), os.pipe()
        program = next(filter(None, map(shutil.which, NAMES)))
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars", "--no-first-run",
                 "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
                 "--force-device-scale-factor=1", f"--user-data-dir={self.folder}/profile"]
        script = f'exec "$@" 3<&{commands[0]} 4>&{answers[1]}'
        self.process = subprocess.Popen(["sh", "-c", script, "sh", program, *flags, "about:blank"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        pass_fds=(commands[0], answers[1]), env={**os.environ, "HOME": self.folder})
        os.close(commands[0])
        os.close(answers[1])
        self.commands, self.answers = open(commands[1], "wb"), open(answers[0], "rb", buffering=0)
        self.held, self.events, self.last = b"", [], 0
        return self

    def __exit__(self, *failure):
        try:
            self.call("Browser.close")
            self.process.wait(20)
        except (EOFError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.commands.close()
        self.answers.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def receive(self):
        while b"\0" not in self.held:
            more = self.answers.read(1 << 20)
            if not more:
                raise EOFError("the browser has gone")
            self.held += more
        message, self.held = self.held.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        """Sends one command and returns its result; events that come meanwhile are kept."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self.commands.write(json.dumps(message).encode() + b"\0")
        self.commands.flush()
        while True:
            answer = self.receive()
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, path, **size):
        return Page(self, path, **size)


class Page:
    def __init__(self, browser, path, width=1280, height=900):
        self.browser, self.address = browser, "file://" + os.path.abspath(path)
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self.load()

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def load(self):
        loaded = len(self.of_kind("Page.loadEventFired"))
        self.call("Page.navigate", url=self.address)
        while len(self.of_kind("Page.loadEventFired")) == loaded:
            self.browser.events.append(self.browser.receive())

    def resize(self, width, height=900):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def media(self, kind="", **features):
        self.call("Emulation.setEmulatedMedia", media=kind,
                  features=[{"name": name.replace("_", "-"), "value": value} for name, value in features.items()])

    def run(self, expression):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode={"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}[key])

    def centre(self, expression):
        """Scrolls an element into view and returns where it is."""
        return self.run(f"(() => {{ const e = {expression}; e.scrollIntoView({{block: 'center', inline: 'center', "
                        "behavior: 'instant'}); const r = e.getBoundingClientRect(); "
                        "return [r.x + r.width / 2, r.y + r.height / 2]; })()")

    def point(self, expression):
        x, y = self.centre(expression)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, expression):
        x, y = self.centre(expression)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def photograph(self, path, height=None):
        """The whole page as PNG, or its first `height` pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    def of_kind(self, *methods):
        return [e["params"] for e in self.browser.events if e.get("sessionId") == self.session and e.get("method") in methods]

    @property
    def complaints(self):
        """What the page's console, scripts and security policy had to say."""
        return self.of_kind("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

    @property
    def requests(self):
        found = [e["request"]["url"] for e in self.of_kind("Network.requestWillBeSent")]
        return [url for url in found if url != self.address and not url.startswith("data:")]


if __name__ == "__main__":
    with Browser() as chromium:
        chromium.open(sys.argv[1], width=int(sys.argv[3])).photograph(sys.argv[2], *map(int, sys.argv[4:]))
