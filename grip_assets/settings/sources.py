"""Named sources of a pool (settings/corpus.sources), and the YAML file that may list them.

A field that a source does not set has the value of settings/corpus.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from grip_assets.errors import UsageMistake
from grip_assets.settings.fields import size
from grip_assets.settings.paths import whole

NAME = re.compile(r"[\w.-]+")
ENDINGS = (".yaml", ".yml")
OVERRIDDEN = ("format", "text_field", "id_field", "language_field", "project_field", "project_depth", "extractor")


class PoolSource(BaseModel):
    """One source of a pool.

    ``role``: select, to be curated to a budget; or keep, the fixed background, whose documents are all in the subset
    and in no budget. ``weight``: of a source to select from; its share of the budget is multiplied by it. ``cap``: most
    tokens of a source that is kept; its documents are then drawn by a hash. ``keep``: columns that the export should
    have. The others are fields of settings/corpus.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    path: str
    role: Literal["select", "keep"] = "select"
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    cap: int | None = Field(None, gt=0)
    format: str | None = None
    text_field: str | None = None
    id_field: str | None = None
    language_field: str | None = None
    project_field: str | None = None
    project_depth: int | None = Field(None, ge=1)
    extractor: Literal["resiliparse", "trafilatura"] | None = None
    keep: list[str] | None = None
    max_documents: int | None = Field(None, gt=0)

    @field_validator("cap", "max_documents", mode="before")
    @classmethod
    def sizes(cls, value: Any) -> Any:
        return size(value, int, False) if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def a_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"the name of a source is of letters, digits, '-', '_' and '.', and '{value}' is not")
        return value

    @model_serializer(mode="wrap")
    def as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a weight of 1: pools that were read before sources had weights keep their recipes."""
        values: dict[str, Any] = serialize(self)
        return {name: value for name, value in values.items() if name != "weight" or value != 1}


def consistent(sources: Iterable[PoolSource], path: str | None) -> None:
    """ValueError if two sources share a name, if none is to be selected from, or if a cap or weight has no effect."""
    found = list(sources)
    names = [source.name for source in found]
    if found and path:
        raise ValueError("corpus.path names a pool too. Set it to null, or name no sources")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two sources are named '{twice[0]}'. Each needs a name of its own")
    if found and all(source.role == "keep" for source in found):
        raise ValueError("every source has the role keep, so there is nothing to select from")
    for source in found:
        if source.cap is not None and source.role == "select":
            raise ValueError(
                f"the source '{source.name}' has a cap and the role select. A cap is for the role keep. Give it a"
                " weight, or budgets by source: clustering.method=column, clustering.column=pool and budget.base=given"
            )
        if source.weight != 1 and source.role == "keep":
            raise ValueError(
                f"the source '{source.name}' has a weight and the role keep. All of it is in the subset, so no budget"
                " has a share of it. A cap takes a part of it"
            )


def is_pool_file(path: str) -> bool:
    """Whether a path is that of a file that lists sources."""
    return "://" not in path and path.lower().endswith(ENDINGS)


def read_pool_file(path: str) -> list[dict[str, Any]]:
    """The sources in a YAML file: a list, or a mapping with the list ``sources``. Relative paths are relative to the
    file. UsageMistake if it cannot be read."""
    file = Path(path).expanduser()
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageMistake(f"{file} cannot be read: {error.strerror}. It should list the sources of a pool.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageMistake(f"{file} is no YAML: {' '.join(str(error).split())[:200]}.") from None
    found = content.get("sources") if isinstance(content, dict) and set(content) == {"sources"} else content
    if not isinstance(found, list) or not found or not all(isinstance(item, dict) for item in found):
        raise UsageMistake(
            f"{file} lists no sources. Write, for each: - name: web, path: crawl/, role: select. See docs/pools.md."
        )
    return [placed_source(item, file.parent) for item in found]


def placed_source(source: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The source with its whole path."""
    path = source.get("path")
    if not isinstance(path, str) or "://" in path:
        return dict(source)
    return {**source, "path": whole(str(folder / Path(path).expanduser()))}
