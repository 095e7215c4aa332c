"""Contact sheets: the images of a region in rows, small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep.regions.looks import Looks

_SIDE, _GAP, _LINE = 150, 8, 18
_COLUMNS, _MOST = 8, 48


def contact_sheet(
    looks: Looks, images: Sequence[int], names: Sequence[str], title: str
) -> Image.Image:
    """At most 48 of the images, evenly spaced over their order, with their names.

    Args:
        looks: how images are looked at.
        images: their places among the headers of `looks`, in the order of the sheet.
        names: of them, in the same order.
        title: what is written above.
    """
    spaced = np.linspace(0, len(images) - 1, min(_MOST, len(images))).round().astype(int)
    shown = [(images[i], names[i]) for i in spaced]
    columns = min(_COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    step = _SIDE + _GAP
    sheet = Image.new(
        "RGB",
        (max(columns * step + _GAP, 3 * step), 2 * _LINE + lines * (step + _LINE) + _GAP),
        "white",
    )
    pen = ImageDraw.Draw(sheet)
    count = (
        f"{len(images)} images"
        if len(shown) == len(images)
        else (f"{len(shown)} of {len(images)} images")
    )
    pen.text(
        (_GAP, _GAP),
        f"{title}: {count}, most typical first",
        fill="black",
        font=ImageFont.load_default(_LINE - 4),
    )
    small = ImageFont.load_default(11)
    for number, (place, name) in enumerate(shown):
        left = _GAP + number % columns * step
        top = 2 * _LINE + number // columns * (step + _LINE)
        header = looks.headers[place]
        longest = max(header.height, header.width)
        rows, cols = (
            max(1, round(side * _SIDE / longest)) for side in (header.height, header.width)
        )
        rgb, _ = looks.see(place, (rows, cols))
        sheet.paste(Image.fromarray(np.moveaxis(rgb, 0, -1)), (left, top))
        pen.text((left, top + rows + 2), _short(name), fill="black", font=small)
    return sheet


def _short(name: str) -> str:
    """Beginning and end of a long name."""
    return name if len(name) <= 24 else f"{name[:9]}…{name[-14:]}"
