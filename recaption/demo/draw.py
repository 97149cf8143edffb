"""Draws the parts of a scene: backgrounds, shapes, fills, noise. Needs Pillow only.

Lengths are fractions of the image's side, so a scene looks the same at every size. The model sees images 144 px wide,
in which a small object is about 22 px wide and a stripe 3 px, large enough to be distinguished.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw

if TYPE_CHECKING:
    from recaption.demo.scenes import SceneObject

RGB = tuple[int, int, int]
Box = tuple[float, float, float, float]

COLOURS: dict[str, RGB] = {
    "red": (216, 32, 40),
    "orange": (250, 140, 20),
    "yellow": (245, 220, 40),
    "green": (40, 160, 60),
    "blue": (40, 90, 220),
    "purple": (130, 50, 170),
    "pink": (250, 135, 190),
    "brown": (115, 68, 30),
}
RADII = {"small": 0.078, "large": 0.130}  # of the side; a cell's half width is 0.167
# With `jitter`: the smallest and largest radius, and the distance of a circle of 1.15 radii from its cell's edge.
RADII_WITH_JITTER = {"small": (0.056, 0.092), "large": (0.104, 0.141)}
MARGIN = 0.003
PERIOD = 0.044  # of stripes and spots, of the side


def background(kind: str, side: int, rng: random.Random) -> Image.Image:
    """An RGB image of `side` x `side` pixels with the background `kind`."""
    if kind == "white":
        return Image.new("RGB", (side, side), _shade((246, 246, 246), rng, 6))
    if kind == "black":
        return Image.new("RGB", (side, side), _shade((22, 22, 24), rng, 6))
    if kind == "gradient":
        return _gradient(side, rng)
    if kind == "tablecloth":
        return _checks(side, rng)
    if kind == "wood":
        return _wood(side, rng)
    raise ValueError(f"no background {kind!r}")


def _shade(colour: RGB, rng: random.Random, spread: int) -> RGB:
    """`colour` with a random brightness and a random shift of each channel, both up to `spread`."""
    brightness = rng.randint(-spread, spread)
    r, g, b = (max(0, min(255, c + brightness + rng.randint(-spread // 2, spread // 2))) for c in colour)
    return r, g, b


def _mix(a: RGB, b: RGB, share: float) -> RGB:
    """A mixture of `a` and `b` with a share of `b`."""
    r, g, b_ = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, b_


def _gradient(side: int, rng: random.Random) -> Image.Image:
    low, high = rng.randint(95, 120), rng.randint(175, 205)
    ramp = Image.linear_gradient("L").point(lambda v: low + (high - low) * v // 255)
    if rng.random() < 0.5:
        ramp = ramp.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return ramp.resize((side, side), Image.Resampling.BILINEAR).convert("RGB")


def _checks(side: int, rng: random.Random) -> Image.Image:
    light, dark = _shade((236, 240, 240), rng, 6), _shade((176, 204, 206), rng, 8)
    image = Image.new("RGB", (side, side), light)
    pen = ImageDraw.Draw(image)
    step = side / 12
    shift = rng.randrange(2)
    for row in range(12):
        for column in range((row + shift) % 2, 12, 2):
            pen.rectangle((column * step, row * step, (column + 1) * step - 1, (row + 1) * step - 1), fill=dark)
    return image


def _wood(side: int, rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (side, side))
    pen = ImageDraw.Draw(image)
    top, seam = 0.0, _shade((168, 132, 92), rng, 8)
    while top < side:
        height = side * rng.uniform(0.13, 0.2)
        pen.rectangle((0, top, side, top + height), fill=_shade((214, 182, 140), rng, 9))
        pen.rectangle((0, top, side, top + side / 160), fill=seam)
        top += height
    return image


def outline(shape: str, x: float, y: float, radius: float, angle: float) -> list[tuple[float, float]]:
    """The corners of `shape` around (x, y); `angle` in radians, y pointing down. A circle has 48."""
    up = -math.pi / 2
    if shape == "circle":
        polar = [(math.tau * k / 48, 0.95) for k in range(48)]
    elif shape == "square":
        polar = [(math.pi / 4 + math.pi / 2 * k, 1.18) for k in range(4)]
    elif shape == "diamond":
        polar = [(up + math.pi / 2 * k, 1.15 if k % 2 == 0 else 0.82) for k in range(4)]
    elif shape == "triangle":
        polar = [(up + math.tau * k / 3, 1.15) for k in range(3)]
    elif shape == "star":
        polar = [(up + math.pi / 5 * k, 1.15 if k % 2 == 0 else 0.5) for k in range(10)]
    elif shape == "heart":
        polar = _heart()
    else:
        raise ValueError(f"no shape {shape!r}")
    return [(x + radius * r * math.cos(a + angle), y + radius * r * math.sin(a + angle)) for a, r in polar]


def _heart() -> list[tuple[float, float]]:
    """The parametric heart curve, 48 corners as (angle, distance)."""
    corners = []
    for k in range(48):
        t = math.tau * k / 48
        hx = 16 * math.sin(t) ** 3 / 15
        hy = -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 15 - 0.1
        corners.append((math.atan2(hy, hx), math.hypot(hx, hy)))
    return corners


def scene_object(image: Image.Image, item: SceneObject, rng: random.Random, *, jitter: bool = False) -> Box:
    """Draw one object into its cell of `image` and return its box: left, top, right, bottom as shares of the side.

    Position and size vary a little. With `jitter` they vary as far as the object stays in its cell and small and large
    objects differ.
    """
    side = image.width
    if jitter:
        share = rng.uniform(*RADII_WITH_JITTER[item.size])
        free = max(0.0, 1 / 6 - MARGIN - 1.15 * share)
    else:
        share, free = RADII[item.size], 0.018
    x = side * ((item.column + 0.5) / 3 + rng.uniform(-free, free))
    y = side * ((item.row + 0.5) / 3 + rng.uniform(-free, free))
    radius = side * share * (1.0 if jitter else rng.uniform(0.92, 1.08))
    angle = math.radians(rng.uniform(-8, 8))
    paint = _shade(COLOURS[item.colour], rng, 12)
    dark, light = _mix(paint, (0, 0, 0), 0.35), _mix(paint, (255, 255, 255), 0.78)
    pen = ImageDraw.Draw(image)
    edge = max(1.0, side * 0.007)
    # Enlarged about the centre rather than stroked: Pillow's strokes are neither joined nor antialiased well.
    outer = outline(item.shape, x, y, radius, angle)
    pen.polygon(outer, fill=dark)
    inner = radius - edge * (1.5 if item.shape in ("triangle", "star") else 1.0)
    corners = outline(item.shape, x, y, inner, angle)
    if item.fill == "hollow":
        pen.polygon(corners, fill=paint)
        _hole(image, outline(item.shape, x, y, radius * 0.55, angle), light)
    else:
        pen.polygon(corners, fill=paint)
    if item.fill in ("striped", "spotted"):
        # Dark spots and pale stripes: at 3 px, pale spots and pale stripes were confused in one of eight cases.
        _texture(image, corners, item.fill, light if item.fill == "striped" else _mix(paint, (0, 0, 0), 0.68), rng)
    across, down = zip(*outer, strict=True)
    return min(across) / side, min(down) / side, max(across) / side, max(down) / side


def _hole(image: Image.Image, corners: list[tuple[float, float]], light: RGB) -> None:
    """Draw a hole in a pale tint."""
    ImageDraw.Draw(image).polygon(corners, fill=light)


def _texture(image: Image.Image, corners: list[tuple[float, float]], fill: str, ink: RGB, rng: random.Random) -> None:
    """Stripes (in any of four directions) or spots of `ink`, cut to the polygon `corners`."""
    left, top = math.floor(min(c[0] for c in corners)), math.floor(min(c[1] for c in corners))
    right, bottom = math.ceil(max(c[0] for c in corners)) + 1, math.ceil(max(c[1] for c in corners)) + 1
    box = (right - left, bottom - top)
    inside = Image.new("L", box)
    ImageDraw.Draw(inside).polygon([(cx - left, cy - top) for cx, cy in corners], fill=255)
    pattern = Image.new("L", box)
    pen = ImageDraw.Draw(pattern)
    period = image.width * PERIOD
    start = rng.random() * period
    reach = box[0] + box[1]
    steps = range(-int(reach / period) - 2, int(reach / period) + 2)
    if fill == "striped":
        slope = rng.choice(((1, 0), (0, 1), (1, 1), (1, -1)))
        wide = period if 0 in slope else period * math.sqrt(2)
        half = wide / 4
        for k in steps:
            at = start + k * wide
            if slope == (1, 0):
                pen.rectangle((at - half, 0, at + half, box[1]), fill=255)
            elif slope == (0, 1):
                pen.rectangle((0, at - half, box[0], at + half), fill=255)
            else:
                lean = box[1] * slope[1]
                pen.polygon(
                    [(at - half, 0), (at + half, 0), (at + half + lean, box[1]), (at - half + lean, box[1])], fill=255
                )
    else:
        dot, pitch = period * 0.33, period * 1.05
        for m in range(int(box[1] / pitch) + 3):
            for k in range(int(box[0] / pitch) + 3):
                cx = start + (k - 1 + 0.5 * (m % 2)) * pitch
                cy = start + (m - 1) * pitch * 0.87
                pen.ellipse((cx - dot, cy - dot, cx + dot, cy + dot), fill=255)
    image.paste(ink, (left, top), ImageChops.multiply(inside, pattern))


def add_noise(image: Image.Image, rng: random.Random) -> Image.Image:
    """Add noise to the brightness of each pixel, with a random amplitude of 0 to 10 of 255."""
    reach = rng.randint(0, 10)
    if not reach:
        return image
    grain = Image.frombytes("L", image.size, rng.randbytes(image.width * image.height))
    grain = grain.point(lambda v: v * (2 * reach + 1) // 256)
    return ImageChops.add(image, Image.merge("RGB", (grain, grain, grain)), 1.0, -reach)
