"""The colours of both themes. Figures are made with the light ones, and the page swaps them in the dark theme.

The first two series are blue and orange, which colour-blind readers can tell apart. No information is in colour alone.
"""

LIGHT = {
    "ink": "#1c2128",
    "muted": "#5c6670",
    "line": "#d5dbe1",
    "grid": "#e9edf1",
    "page": "#fbfcfd",
    "card": "#ffffff",
    "accent": "#0a5fc4",
    "s1": "#1567d3",
    "s2": "#c8590a",
    "s3": "#0b7f80",
    "s4": "#7a4fd0",
    "s5": "#a8326f",
    "s6": "#6d5f00",
    "pool": "#8f9aa6",
    "q0": "#c3d8f2",
    "q1": "#5891d9",
    "q2": "#0b2f63",
    "c0": "#0072b2",
    "c1": "#d98c00",
    "c2": "#008f68",
    "c3": "#c2679c",
    "c4": "#3f9fd8",
    "c5": "#d25400",
    "c6": "#a39400",
    "c7": "#7b7f85",
    "c8": "#6b46a8",
    "c9": "#8a5347",
}
DARK = {
    "ink": "#e4e9ef",
    "muted": "#98a4b1",
    "line": "#333b45",
    "grid": "#262d36",
    "page": "#0f1318",
    "card": "#161b22",
    "accent": "#6cb0ff",
    "s1": "#62a8ff",
    "s2": "#f2a25c",
    "s3": "#46c2c0",
    "s4": "#b59bf5",
    "s5": "#f085b9",
    "s6": "#d6bd2c",
    "pool": "#75818e",
    "q0": "#24425f",
    "q1": "#5795da",
    "q2": "#dcecff",
    "c0": "#4aa5e0",
    "c1": "#f0ad33",
    "c2": "#2fc195",
    "c3": "#e090bf",
    "c4": "#86ccf2",
    "c5": "#f47c35",
    "c6": "#d8ca3d",
    "c7": "#a3a8ae",
    "c8": "#a98be0",
    "c9": "#c08a7c",
}
SEQUENTIAL = [[0, LIGHT["q0"]], [0.5, LIGHT["q1"]], [1, LIGHT["q2"]]]
DIVERGING = [[0, LIGHT["s2"]], [0.5, LIGHT["grid"]], [1, LIGHT["s1"]]]
CATEGORIES = [LIGHT[f"c{i}"] for i in range(10)]
SERIES = [LIGHT[f"s{i}"] for i in range(1, 7)]
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif'


def css(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
