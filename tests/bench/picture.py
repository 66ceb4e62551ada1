"""docs/automatic.svg: how far answers diverge at each size, by the recorded figures of strategy.py.

    python3 picture.py          # draws it anew; strategy.py --update does so, too

Bytes go to the right, the mean divergence of the answers' tokens on the drawn pictures upwards, on a scale of powers of
ten; automatic plans, our recipes and llama-quantize's file types each have a line.
"""
import math
import os

from regress import PROJECT, table

PATH = os.path.join(PROJECT, "docs", "automatic.svg")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 70, 20, 20, 50
# What a line is called, which pairs are on it, and how it looks.
LINES = (("llama-quantize with its imatrix", lambda name: name.startswith("llama-quantize "), "#b0562c", "6 4"),
         ("our recipes, calibrated", lambda name: name.startswith("uniform "), "#7a7f87", "2 3"),
         ("automatic plans", lambda name: name == "plan", "#2368b8", "none"))
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">
<title>Divergence of the answers by size</title>
<desc>Mean divergence of the answers from the original's, for automatic plans, recipes and llama-quantize's types.</desc>
<style>text {{ fill: #444; stroke: none }} .grid {{ stroke: #999; stroke-opacity: 0.35 }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #ccc }} }}</style>
"""


class Scale:
    """Where bytes and divergences lie on the picture."""

    def __init__(self, points):
        megabytes = [x for x, _ in points]
        self.left, self.right = math.floor(min(megabytes) * 2) / 2, math.ceil(max(megabytes) * 2) / 2
        self.low = math.floor(math.log10(min(y for _, y in points)))
        self.high = math.ceil(math.log10(max(y for _, y in points)))

    def x(self, megabytes):
        return LEFT + (WIDTH - LEFT - RIGHT) * (megabytes - self.left) / (self.right - self.left)

    def y(self, divergence):
        share = (math.log10(divergence) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def grid(self):
        for power in range(self.low, self.high + 1):
            y = self.y(10 ** power)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>'
        for half in range(round(2 * self.left), round(2 * self.right) + 1):
            yield f'<text x="{self.x(half / 2):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{half / 2:g}</text>'
        yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">MB of both files</text>'
        yield f'<text x="{LEFT + 6}" y="{TOP + 12}">KL, nats for each answer token</text>'


def line(scale, name, points, colour, dashes, number):
    path = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
    for x, y in points:
        yield f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="3.5" fill="{colour}"/>'
    y = TOP + 12 + 20 * number
    yield f'<line x1="{WIDTH - 270}" x2="{WIDTH - 240}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2" ' \
          f'stroke-dasharray="{dashes}"/>'
    yield f'<text x="{WIDTH - 232}" y="{y}">{name}</text>'


def picture(rows):
    """The SVG of a table of strategy.py."""
    lines = []
    for name, is_on, colour, dashes in LINES:
        points = {(int(r["bytes"]) / 1e6, float(r["KL drawn"])) for r in rows if is_on(r["pair"])}
        lines.append((name, sorted(points), colour, dashes))
    scale = Scale([point for _, points, _, _ in lines for point in points])
    parts = [HEAD.format(width=WIDTH, height=HEIGHT), *scale.grid()]
    for number, (name, points, colour, dashes) in enumerate(lines):
        parts += line(scale, name, points, colour, dashes, number)
    return "\n".join([*parts, "</svg>", ""])


def draw():
    with open(PATH, "w", encoding="utf-8") as f:
        f.write(picture(table("automatic")))


if __name__ == "__main__":
    draw()
