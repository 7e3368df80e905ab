"""The parts of a section: paragraphs, figures, tables. page.html.j2, page.css and page.js define how they look."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from markupsafe import Markup, escape

from grip_assets.report.page.palette import FONT, LIGHT
from grip_assets.store.cluster_names import NONE, ClusterNames

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Column:
    """``format``: Python's format of a number; empty for text."""

    name: str
    label: str
    format: str = ""
    hint: str = ""

    def cell(self, row: Mapping[str, Any]) -> str:
        value = row.get(self.name)
        if value is None or value != value:
            return "–"
        return format(value, self.format).replace("-", "−") if self.format else str(value)

    def sort_key(self, row: Mapping[str, Any]) -> str:
        value = row.get(self.name)
        return "" if value is None or value != value else repr(value) if self.format else str(value)

    @property
    def look(self) -> str:
        """The CSS class of the cells: n for numbers at the right, who for names of clusters."""
        return "n" if self.format else ""


@dataclass(frozen=True)
class ClusterColumn(Column):
    """A column of clusters: shows number and name, sorts by number. ``names`` may be empty."""

    name: str = "cluster_id"
    label: str = "Cluster"
    format: str = "d"
    names: ClusterNames = NONE

    def cell(self, row: Mapping[str, Any]) -> str:
        value = row.get(self.name)
        return self.names.label(value) if self.names and value is not None else super().cell(row)

    @property
    def look(self) -> str:
        return "who" if self.names else "n"


@dataclass(frozen=True)
class Table:
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    folded: bool = False  # behind "Show the numbers"
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Choice:
    """Another colouring of a figure. ``changes``: for each trace, its changed values. ``note``: explains the colours."""

    name: str
    changes: Sequence[Mapping[str, Any]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """``says``: the caption, which also tells in words what the picture shows. ``pan``: can be dragged and zoomed."""

    id: str
    title: str
    says: str
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    table: Table | None = None
    choices: Sequence[Choice] = ()
    choose: str = ""
    pan: bool = False
    kind: ClassVar[str] = "figure"

    @property
    def height(self) -> int:
        return int(self.layout["height"])

    def payload(self) -> dict[str, Any]:
        choices = [{"name": c.name, "changes": list(c.changes), "note": c.note} for c in self.choices]
        return {"data": self.data, "layout": self.layout, "choices": choices, "pan": self.pan}


@dataclass(frozen=True)
class Panels:
    """Figures of one kind, beside each other where there is room."""

    figures: Sequence[Figure]
    kind: ClassVar[str] = "panels"


@dataclass(frozen=True)
class Prose:
    text: Markup
    tone: str = ""  # "missing": which asset to materialize
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Special:
    """A part with its own macro in the template, named by ``kind``."""

    kind: str
    data: Mapping[str, Any]


Block = Prose | Figure | Panels | Table | Special


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def say(text: str, /, **values: Any) -> Prose:
    """A paragraph. ``text`` is ours and may have tags. The values are escaped."""
    return Prose(Markup(text).format(**{name: escape(value) for name, value in values.items()}))


def figure(id: str, title: str, says: str, drawn: "go.Figure", height: int = 380, **more: Any) -> Figure:
    made = drawn.to_plotly_json()
    layout = made["layout"] | {"template": style(), "height": height}  # as a dict: plotly would check it 19 times
    return Figure(id, title, says, plain(made["data"]), plain(layout), **more)


def style() -> dict[str, Any]:
    axis = {
        "gridcolor": LIGHT["grid"],
        "linecolor": LIGHT["line"],
        "zerolinecolor": LIGHT["line"],
        "tickfont": {"color": LIGHT["muted"], "size": 12},
        "title": {"font": {"color": LIGHT["muted"], "size": 12.5}, "standoff": 10},
        "automargin": True,
    }
    layout = {
        "font": {"family": FONT, "size": 13, "color": LIGHT["ink"]},
        "paper_bgcolor": LIGHT["card"],
        "plot_bgcolor": LIGHT["card"],
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "xaxis": axis,
        "yaxis": axis,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12.5}},
        "hoverlabel": {
            "bgcolor": LIGHT["card"],
            "bordercolor": LIGHT["line"],
            "font": {"color": LIGHT["ink"], "family": FONT, "size": 12.5},
            "align": "left",
        },
        "colorway": [LIGHT[f"s{i}"] for i in range(1, 7)],
    }
    return {"layout": layout, "data": {"bar": [{"marker": {"line": {"width": 0}}}]}}


def plain(value: Any) -> Any:
    """The value with plain Python lists and numbers, for JSON. Floats have six digits, more than a screen shows."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [plain(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
