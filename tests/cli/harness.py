"""What the command-line tests share: running the program, comparing exact output, watching folders.

    class Usage(CliTest):
        def test_version(self):
            self.check(["version"], out="llava-quantize 0.1.0\\n")

Each test runs in an empty folder of its own (self.dir), where `demo` is a link to the project's demo folder. The
environment gives LQ_BIN (the program), LQ_DEMO, LQ_BUILD and LQ_SANITIZE; LQ_WRAPPER names a program that runs LQ_BIN under
a tool (tools/valgrind/llava-quantize); UPDATE=1 rewrites the golden files instead of comparing.
"""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
WRAPPED = "LQ_WRAPPER" in os.environ
BIN = os.path.abspath(os.environ.get("LQ_WRAPPER") or
                      os.environ.get("LQ_BIN", os.path.join(PROJECT, "build", "llava-quantize")))
DEMO = os.path.abspath(os.environ.get("LQ_DEMO", os.path.join(PROJECT, "demo")))
BUILD = os.path.abspath(os.environ.get("LQ_BUILD", os.path.join(PROJECT, "build")))
SANITIZE = os.environ.get("LQ_SANITIZE", "")
GOLDEN = os.path.join(HERE, "golden")


@dataclass
class Result:
    code: int
    out: str
    err: str


def snapshot(folder):
    """Every path below `folder`: what it is, and for files size, modification time and hash."""
    state = {}
    for root, folders, files in os.walk(folder):
        for name in folders:
            state[os.path.relpath(os.path.join(root, name), folder)] = "folder"
        for name in files:
            path = os.path.join(root, name)
            info = os.lstat(path)
            with open(path, "rb") as f:
                digest = hashlib.sha256(f.read()).hexdigest()
            state[os.path.relpath(path, folder)] = (info.st_size, info.st_mtime_ns, digest)
    return state


def read_bytes(path):
    with open(path, "rb") as f:
        return f.read()


def cache_entry(name):
    """What the build was configured with."""
    with open(os.path.join(BUILD, "CMakeCache.txt"), encoding="utf-8") as f:
        found = re.search(rf"^{name}:\w+=(.*)$", f.read(), re.MULTILINE)
    return found.group(1) if found else ""


def golden(name, text):
    """The text of tests/cli/golden/NAME; with UPDATE=1 it becomes `text` first."""
    path = os.path.join(GOLDEN, name)
    if os.environ.get("UPDATE") == "1":
        os.makedirs(GOLDEN, exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    with open(path, encoding="utf-8") as f:
        return f.read()


class CliTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="lq-cli-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        os.symlink(DEMO, os.path.join(self.dir, "demo"))

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def environment(self, **more):
        return {**os.environ, "LC_ALL": "C.UTF-8", **more}

    def run_cli(self, args, *, text=True, **more):
        """Runs the program in self.dir; more: stdin, env (added), stdout, stderr."""
        env = self.environment(**more.pop("env", {}))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more}
        done = subprocess.run([BIN, *map(str, args)], cwd=self.dir, env=env, text=text, **pipes)
        return Result(done.returncode, done.stdout, done.stderr)

    def check(self, args, *, code=0, out=None, err=None, **more):
        """Runs and compares: the exit status; stdout and stderr where given, a string exactly, a pattern by search."""
        result = self.run_cli(args, **more)
        self.assertEqual(result.code, code, f"{args}\nstdout: {result.out}\nstderr: {result.err}")
        for name, expected, found in (("stdout", out, result.out), ("stderr", err, result.err)):
            if isinstance(expected, re.Pattern):
                self.assertRegex(found, expected, name)
            elif expected is not None:
                self.assertEqual(found, expected, name)
        return result

    def check_refused(self, args, message, *, code=1, **more):
        """A failure with exactly one message, an empty stdout, and a folder left exactly as it was."""
        before = snapshot(self.dir)
        result = self.check(args, code=code, out="", err=f"llava-quantize: {message}\n", **more)
        self.assertEqual(snapshot(self.dir), before, "the folder changed")
        return result

    def check_golden(self, name, text):
        self.assertEqual(text, golden(name, text), f"golden/{name}; UPDATE=1 rewrites it")

    def check_same_files(self, first, second):
        self.assertTrue(os.path.exists(first), first)
        self.assertTrue(os.path.exists(second), second)
        self.assertTrue(read_bytes(first) == read_bytes(second), f"{first} and {second} differ")
