#!/usr/bin/env python3
"""Checks how long functions and files are: at most 60 and 800 lines, from the opening to the closing brace. Tables are
exempt, and what tools/long.txt names with a reason.

    tools/check-lengths.py
"""
import glob
import os
import sys

FUNCTION, FILE = 60, 800
FOLDERS = ("include", "src", "cli", "examples", "tests", "tools")
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def functions(lines):
    """Name and length of each function: the style puts a function's braces, and no others, into the first column."""
    start = None
    for i, line in enumerate(lines):
        if line == "{":
            start = i
        elif line == "}" and start is not None:
            head = next(lines[j] for j in range(start - 1, -1, -1) if lines[j][:1].isalpha() and "(" in lines[j])
            yield head.split("(")[0].split()[-1].lstrip("*"), i - start + 1
            start = None


def table_lines(lines):
    """Lines of tables at file level: what stands between "= {" and "};"."""
    inside, count = False, 0
    for line in lines:
        inside = inside or (line[:1].isalpha() and line.endswith("= {"))
        count += inside
        inside = inside and line != "};"
    return count


def named_exceptions():
    with open(os.path.join(PROJECT, "tools", "long.txt"), encoding="utf-8") as f:
        return {line.split()[0] for line in f if line.strip() and not line.startswith("#")}


def main():
    known, found = named_exceptions(), {}
    pattern = os.path.join(PROJECT, "{}", "**", "*.[ch]")
    for path in sorted(p for folder in FOLDERS for p in glob.glob(pattern.format(folder), recursive=True)):
        name = os.path.relpath(path, PROJECT)
        with open(path, encoding="utf-8") as f:
            lines = f.read().splitlines()
        if len(lines) - table_lines(lines) > FILE:
            found[name] = f"{len(lines)} lines, more than {FILE}"
        found.update({f"{name}:{function}": f"{length} lines, more than {FUNCTION}"
                      for function, length in functions(lines) if length > FUNCTION})
    for name in sorted(found.keys() - known):
        print(f"{name}: {found[name]}")
    for name in sorted(known - found.keys()):
        print(f"tools/long.txt: {name} is not too long (any more)")
    return 1 if found.keys() != known else 0


if __name__ == "__main__":
    sys.exit(main())
