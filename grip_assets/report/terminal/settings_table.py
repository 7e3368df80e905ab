"""The table that `grip settings` prints. orchestration/settings_rows.py makes its rows."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

ABSENT = "-"


def as_text(found: Sequence[Mapping[str, Any]], detailed: bool) -> str:
    if not found:
        return "Every setting is at its default."
    profile = next((row["profile"] for row in found if row["profile"]), None)
    width = max(len(row["name"]) for row in found)
    of_profile = f"{f'profile {profile}':<22} " if profile else ""
    lines = [f"{'setting':<{width}}  {'in force':<18} {'default':<18} {of_profile}{'changed':<26} read by"]
    for row in found:
        lines += [_line(row, width), *(_details(row) if detailed else [])]
    return "\n".join(lines)


def _line(row: Mapping[str, Any], width: int) -> str:
    of_profile = _short(row["profile_value"]) if row["in_profile"] else ABSENT
    when = ABSENT
    if row["changed_at"]:
        when = f"{datetime.fromtimestamp(row['changed_at']):%Y-%m-%d %H:%M} {(row['changed_by'] or 'undone')[:8]}"
    reads = ", ".join(row["read_by"]) if row["changes_results"] else "changes no result"
    if not row["applies"]:
        reads = f"not used: {row['applies_with']}"
    value, default = _short(row["value"]), _short(row["default"])
    mark = "*" if row["value"] != row["default"] else ""
    column = f"{of_profile:<22} " if row["profile"] else ""
    return f"{row['name']:<{width}}  {value + mark:<18} {default:<18} {column}{when:<26} {reads or 'reports'}"


def _details(row: Mapping[str, Any]) -> list[str]:
    allowed = " | ".join(row["choices"]) or row["range"]
    symbol = f"[{row['symbol']}] " if row["symbol"] else ""
    said = row["applies_with"]
    when = f" {said[0].upper()}{said[1:]}." if said else ""
    return [f"    {symbol}{row['description']}{when}{f' Takes: {allowed}.' if allowed else ''}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 17 else text[:14] + "..."
