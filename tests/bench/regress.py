"""tests/regress/results.csv: several tables, each with a head of its own and an empty line before the next, so that a
change in quality is a difference to be looked at. A table is known by the first word of its head.

    record(rows, update)        # rows: dictionaries with the same keys, in order
    table("type")              # the recorded rows
"""
import csv
import io
import os

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATH = os.path.join(PROJECT, "tests", "regress", "results.csv")


def text_of(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def load():
    """Text of each table by the first word of its head, in the file's order."""
    with open(PATH, encoding="utf-8") as f:
        return {part.split(",")[0]: part.rstrip("\n") + "\n" for part in f.read().split("\n\n")}


def table(name):
    return list(csv.DictReader(io.StringIO(load()[name])))


def record(rows, update):
    """Writes a table, or says where it is not today's."""
    tables, text = load(), text_of(rows)
    name = text.split(",")[0]
    old = tables.get(name, "")
    if text == old:
        return
    if update:
        tables[name] = text
        with open(PATH, "w", encoding="utf-8") as f:
            f.write("\n".join(tables.values()))
        return
    print(f"Not the figures of table '{name}' in tests/regress/results.csv; --update writes these there:")
    print("".join(f"  {line}\n" for line in text.splitlines() if line not in old.splitlines()), end="")
