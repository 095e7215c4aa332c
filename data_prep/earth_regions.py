"""The regions of the Earth sample: where they are and which split they belong to.

Chosen by eye on a map: mainly land, every continent but Antarctica, at least 0.3 degree apart so
that no two share pixels or the blur of resampling. The test regions lie on six continents and
each holds several classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from landmeta.taskset import Split

PIXEL = 0.05
"""Degrees per pixel of the land cover grid."""
STEP = 3.2
"""Degrees; regions are whole multiples of it wide and high: 64 pixels, a tile by default."""


@dataclass(frozen=True)
class Region:
    """A named part of the world.

    Attributes:
        name, split: of the task it becomes.
        west, north: its upper left corner, degrees.
        width, height: in steps of `STEP` degrees.
    """

    name: str
    split: Split
    west: float
    north: float
    width: int
    height: int

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees."""
        east, south = self.west + STEP * self.width, self.north - STEP * self.height
        return self.west, south, east, self.north

    @property
    def window(self) -> tuple[int, int, int, int]:
        """(col_off, row_off, width, height) in pixels of the world grid."""
        col, row = round((self.west + 180) / PIXEL), round((90 - self.north) / PIXEL)
        pixels = round(STEP / PIXEL)
        return col, row, pixels * self.width, pixels * self.height


REGIONS = (
    Region("Alaska", "train", -164.0, 70.0, 6, 3),
    Region("Canadian North-West", "train", -135.0, 66.0, 6, 4),
    Region("Canadian Prairies", "train", -115.0, 56.0, 6, 4),
    Region("Nunavut", "train", -115.0, 70.0, 6, 4),
    Region("Great Lakes", "test", -95.0, 49.9, 6, 4),
    Region("Hudson Bay Lowlands", "train", -95.4, 59.9, 6, 3),
    Region("Quebec and Labrador", "val", -75.5, 63.0, 6, 4),
    Region("Great Basin and Sonora", "train", -122.0, 42.9, 5, 5),
    Region("Gulf Coast", "train", -105.0, 36.5, 6, 3),
    Region("Mexico", "train", -106.0, 26.5, 6, 4),
    Region("Greenland", "train", -55.0, 72.0, 5, 4),
    Region("Orinoco", "train", -77.0, 11.0, 6, 4),
    Region("Peru", "train", -81.0, -2.5, 5, 5),
    Region("Eastern Amazon", "train", -60.0, -2.1, 5, 4),
    Region("Caatinga", "val", -43.5, -3.0, 3, 5),
    Region("Cerrado", "train", -60.0, -15.2, 5, 3),
    Region("Pampas", "test", -65.8, -25.2, 5, 4),
    Region("Central Andes", "train", -72.5, -18.8, 2, 6),
    Region("Patagonia", "train", -75.5, -38.4, 4, 5),
    Region("Iberia and Maghreb", "test", -10.0, 43.9, 5, 5),
    Region("Western Europe", "train", -6.0, 57.0, 4, 4),
    Region("Central Europe", "val", 7.5, 57.0, 5, 4),
    Region("Scandinavia", "train", 5.0, 70.5, 6, 4),
    Region("Balkans and Anatolia", "train", 16.5, 43.7, 6, 3),
    Region("Don and Volga", "train", 28.0, 56.9, 6, 4),
    Region("Karelia and Pechora", "train", 28.0, 70.0, 7, 4),
    Region("Urals", "train", 51.0, 64.0, 4, 5),
    Region("West Siberia", "train", 65.0, 68.0, 5, 5),
    Region("Yenisei", "train", 85.0, 68.0, 6, 4),
    Region("Lena", "val", 112.0, 70.0, 6, 4),
    Region("Amur and Manchuria", "test", 118.0, 54.0, 5, 4),
    Region("Kolyma", "train", 145.0, 70.0, 6, 3),
    Region("Kazakh Steppe and Tian Shan", "train", 65.0, 51.5, 5, 4),
    Region("Caspian and Iran", "train", 47.5, 42.0, 5, 4),
    Region("Levant and Mesopotamia", "train", 36.8, 42.0, 3, 4),
    Region("Tibet", "train", 84.0, 38.5, 5, 4),
    Region("Indus", "test", 64.0, 37.3, 5, 4),
    Region("Deccan", "train", 72.0, 23.8, 4, 5),
    Region("Indochina", "val", 92.0, 25.0, 5, 5),
    Region("South China", "train", 109.0, 34.0, 4, 4),
    Region("North China", "train", 102.0, 40.9, 6, 2),
    Region("Mongolia", "train", 90.0, 54.5, 6, 4),
    Region("Sumatra and Borneo", "train", 99.0, 6.0, 6, 4),
    Region("New Guinea", "train", 131.0, -0.5, 6, 3),
    Region("Northern Australia", "train", 125.0, -12.0, 7, 4),
    Region("Western Australia", "train", 113.0, -25.1, 6, 4),
    Region("South-Eastern Australia", "test", 135.0, -26.0, 6, 4),
    Region("West Africa", "train", -17.0, 17.0, 6, 4),
    Region("Lake Chad and Niger", "test", 3.0, 17.0, 5, 4),
    Region("Sudan", "train", 20.0, 17.0, 4, 4),
    Region("Horn of Africa", "val", 33.5, 16.0, 5, 5),
    Region("Congo", "train", 11.0, 3.8, 5, 4),
    Region("Tanzania", "train", 29.0, -1.0, 4, 3),
    Region("Angola", "train", 11.5, -9.5, 5, 4),
    Region("Southern Africa", "test", 15.0, -22.8, 6, 4),
    Region("Zambezi and Madagascar", "train", 28.0, -11.0, 8, 3),
    Region("Nile", "train", 23.5, 32.0, 4, 4),
)
