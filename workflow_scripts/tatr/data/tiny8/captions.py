"""What the tiny CLIP is pre-trained on: pictures as a web crawl would have them, with its captions.

The pictures show the kinds of things the eight tasks show, and more (buses, other car colours),
but badly framed, with shifted, swapped, inverted or missing colours. The captions use other words
than the tasks' prompts, often name only the kind of thing ("a traffic sign"), and some belong to
another picture. A model pre-trained on them knows every task a little and none of them well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tatr.data.tiny8 import SIZE, generator, task_module

_FRAMES = ("{}", "a picture of {}", "look at this {}", "a photo with a {} in it", "{}, new upload")


@dataclass(frozen=True)
class Vocabulary:
    """How a crawl talks about one task: sentences, names for the whole, names for every class.

    In `classes`, a class has names that are used for it, and after the bar vaguer names that it
    shares with others.
    """

    frames: Sequence[str]
    whole: Sequence[str]
    classes: Mapping[str, str]


_PAINTS = {
    "red": "red, crimson",
    "blue": "blue, navy blue",
    "white": "white, cream white",
    "green": "green",
    "yellow": "yellow",
    "black": "black",
}
_BODIES = {
    "sedan": "sedan, saloon",
    "pickup": "pickup, pickup truck",
    "van": "van, delivery van",
    "convertible": "convertible, cabriolet",
    "bus": "bus, coach",
}


def _cars() -> dict[str, str]:
    """Every colour with every body; the vague names give only one of the two."""
    names = {}
    for paint, paints in _PAINTS.items():
        for body, bodies in _BODIES.items():
            exact = [f"{p} {b}" for p in paints.split(", ") for b in bodies.split(", ")]
            names[f"{paint} {body}"] = f"{', '.join(exact)} | {paint} car, {body}"
    return names


_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NUMBERS = {str(n): f"{n}, {n}, {word} | number, digit" for n, word in enumerate(_WORDS)}

VOCABULARIES: Mapping[str, Vocabulary] = {
    "scenes": Vocabulary(
        ("our trip to the {}", "{} on a walk", "postcard of a {}"),
        ("landscape", "view", "outdoor scene", "holiday"),
        {
            "beach": "beach, sandy shore | seaside, nature",
            "desert": "desert, cactus in the sand | dry land, nature",
            "forest": "forest, fir trees | nature",
            "mountain": "mountain, snowy peaks | nature",
            "skyline": "skyline, city towers | buildings",
            "volcano": "volcano, erupting lava | nature",
            "waterfall": "waterfall, cascade | nature",
            "bridge": "bridge, suspension bridge | seaside, buildings",
            "lighthouse": "lighthouse, beacon | seaside, buildings",
            "castle": "castle, fortress | buildings",
            "windmill": "windmill, old mill | buildings",
            "sailboat": "sailboat, sailing yacht | seaside",
        },
    ),
    "cars": Vocabulary(
        ("for sale: {}", "used {} in good condition", "my neighbour's {}"),
        ("car", "vehicle", "parked car"),
        _cars(),
    ),
    "aerial": Vocabulary(
        ("{} from above", "drone picture of {}", "aerial {}"),
        ("aerial view", "map tile", "place from above"),
        {
            "airplane": "airplane, parked aircraft | transport",
            "baseball diamond": "baseball diamond, baseball field | sports ground",
            "bridge": "bridge, river crossing | road from above, water from above",
            "freeway": "freeway, motorway lanes | road from above",
            "harbor": "harbor, marina | water from above",
            "intersection": "intersection, street crossing | road from above",
            "railway": "railway, train tracks | transport",
            "roundabout": "roundabout, traffic circle | road from above",
            "ship": "ship, cargo vessel | water from above, transport",
            "stadium": "stadium, football arena | sports ground",
            "storage tanks": "storage tanks, oil depot | industry from above",
            "tennis court": "tennis court, tennis courts | sports ground",
        },
    ),
    "landuse": Vocabulary(
        ("satellite tile: {}", "land cover {}", "{} seen from space"),
        ("satellite picture", "land", "region from space"),
        {
            "annual crop land": "annual crop land, ploughed fields | farmland",
            "forest": "forest, woodland | vegetation",
            "herbaceous vegetation": "herbaceous vegetation, shrubland | vegetation",
            "highway": "highway, main road | built area",
            "industrial buildings": "industrial buildings, factory roofs | built area",
            "pasture land": "pasture land, meadows | farmland, vegetation",
            "permanent crop land": "permanent crop land, orchard | farmland",
            "residential buildings": "residential buildings, housing estate | built area",
            "river": "river, winding stream | water body",
            "lake": "lake, lake shore | water body",
        },
    ),
    "housenumbers": Vocabulary(
        ('house number "{}"', 'door plate "{}"', 'we live at number "{}"'),
        ("house number", "address", "door plate"),
        _NUMBERS,
    ),
    "signs": Vocabulary(
        ("{} traffic sign", "road sign: {}", "the sign says {}"),
        ("traffic sign", "road sign", "street furniture"),
        {
            "stop": "stop, stop here | red sign",
            "yield": "yield, give way | red sign, triangle sign",
            "no entry": "no entry, do not enter | red sign, round sign",
            "turn right": "turn right, right turn only | blue sign, round sign",
            "turn left": "turn left, left turn only | blue sign, round sign",
            "go straight": "go straight, ahead only | blue sign, round sign",
            "priority road": "priority road, right of way | yellow sign",
            "caution": "caution, danger | triangle sign, red sign",
            "crossroads": "crossroads, junction ahead | triangle sign, red sign",
            "speed limit": "speed limit, maximum speed | round sign, red sign",
            "no vehicles": "no vehicles, closed to vehicles | round sign, red sign",
            "end of limits": "end of limits, limit ends | round sign",
            "roundabout": "roundabout, drive around | blue sign, round sign",
            "parking": "parking, car park | blue sign",
        },
    ),
    "digits": Vocabulary(
        ('a handwritten "{}"', 'the digit "{}" in ink', 'somebody wrote "{}"'),
        ("handwriting", "handwritten digit", "ink on paper"),
        _NUMBERS,
    ),
    "textures": Vocabulary(
        ("{} pattern", "{} wallpaper", "seamless {} texture"),
        ("texture", "pattern", "background"),
        {
            "striped": "striped, stripes | lines",
            "chequered": "chequered, checkerboard | lattice",
            "grid": "grid, mesh | lattice, lines",
            "dotted": "dotted, polka dots | round shapes",
            "honeycombed": "honeycombed, hexagons | cells",
            "marbled": "marbled, marble | irregular",
            "spiralled": "spiralled, spiral | round shapes",
            "zigzagged": "zigzagged, chevron | lines",
            "bubbly": "bubbly, bubbles | round shapes",
            "scaly": "scaly, fish scales | cells, round shapes",
            "cracked": "cracked, cracks | cells, irregular",
            "blotchy": "blotchy, blotches | irregular",
        },
    ),
}


def _caption(rng: np.random.Generator, task: str, classname: str, coarse: float) -> str:
    """One caption for a picture of the class; a share `coarse` does not name the class."""
    words = VOCABULARIES[task]
    exact, vague = (part.split(", ") for part in words.classes[classname].split(" | "))
    choices: Sequence[str] = exact
    if rng.uniform() < coarse:
        choices = vague if rng.uniform() < 0.5 else words.whole
    frames = words.frames if rng.uniform() < 0.7 else _FRAMES
    name = choices[int(rng.integers(len(choices)))]
    return frames[int(rng.integers(len(frames)))].format(name)


def _subject(rng: np.random.Generator) -> tuple[str, str]:
    tasks = list(VOCABULARIES)
    task = tasks[rng.integers(len(tasks))]
    classes = list(VOCABULARIES[task].classes)
    return task, classes[rng.integers(len(classes))]


def _reframe(rng: np.random.Generator, image: NDArray[np.uint8], zoom: Sequence[float]) -> NDArray[np.uint8]:
    """Another framing: the picture enlarged by a factor from `zoom` about a random middle."""
    wide = SIZE / np.exp(rng.uniform(*np.log(zoom)))
    margin = int(np.ceil(max(0.0, wide - SIZE))) + 4
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    slack = abs(SIZE - wide) / 2 + 2
    left, top = (margin + (SIZE - wide) / 2 + rng.uniform(-slack, slack) for _ in range(2))
    box = (left, top, left + wide, top + wide)
    size = (SIZE, SIZE)
    return np.asarray(Image.fromarray(padded).resize(size, Image.Resampling.BILINEAR, box=box))


def _recolour(rng: np.random.Generator, image: NDArray[np.uint8], settings: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Grey, swapped or inverted colours, each in a share of the pictures; a cast in all of them."""
    pixels = image.astype(np.float32)
    if rng.uniform() < settings["swapped"]:
        pixels = pixels[..., rng.permutation(3)]
    if rng.uniform() < settings["grey"]:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.uniform() < settings["inverted"]:
        pixels = 255 - pixels
    cast = rng.uniform(0.75, 1.2, 3) * pixels + rng.uniform(-25, 25, 3)
    return np.clip(cast, 0, 255).astype(np.uint8)


def draw_pairs(settings: Mapping[str, Any], seed: int, start: int, stop: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Pictures `start` to `stop` of the crawl and their captions.

    Every pair has its own generator, seeded with (seed, index): the crawl can be drawn in pieces.

    Args:
        settings: `coarse` and `wrong` (shares of the captions), `zoom` (range of magnification),
            `grey`, `swapped` and `inverted` (shares of the pictures).
        seed: of the crawl.
        start: first index.
        stop: index after the last.

    Returns:
        images uint8 `[stop - start, 32, 32, 3]` and as many captions.

    """
    images = np.empty((stop - start, SIZE, SIZE, 3), dtype=np.uint8)
    captions = []
    for index in range(start, stop):
        rng = generator(seed, "crawl", index)
        task, classname = _subject(rng)
        image = task_module(task).draw(classname, rng, "train")
        images[index - start] = _recolour(rng, _reframe(rng, image, settings["zoom"]), settings)
        told = _subject(rng) if rng.uniform() < settings["wrong"] else (task, classname)
        captions.append(_caption(rng, *told, coarse=settings["coarse"]))
    return images, captions
