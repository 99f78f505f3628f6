"""The tables of ``docs/reference/settings.md``, written by ``python -m scribe_ledger.config.reference PAGE``.

Owns only what stands between the two marker lines of the page; the prose around them is written by people. A test
compares page and code, so a setting cannot change without its documentation.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scribe_ledger.config.catalogue import FLAGS, SECTIONS, SETTINGS, Setting, as_toml
from scribe_ledger.config.old_spellings import OLD_ENVIRONMENT, OLD_KEYS, OldSpelling

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN = "<!-- tables: begin, written by `python -m scribe_ledger.config.reference` -->"
END = "<!-- tables: end -->"


def with_tables(page: str) -> str:
    """The page with its tables written anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def tables() -> str:
    """Every section, flag and old spelling as Markdown."""
    return "\n".join([*_sections(), *_flags(), *_old_spellings()])


def _sections() -> Iterator[str]:
    yield "## Settings\n"
    for table, model in SECTIONS.items():
        settings = [setting for setting in SETTINGS.values() if setting.section == table]
        meaning = (model.__doc__ or "").partition(": ")[2]
        yield f"### `[{table}]`\n\n{meaning[:1].upper()}{meaning[1:]}\n"
        yield from _table(["Key", "Default", "Type", "Variable", "Meaning"], [_row(setting) for setting in settings])


def _row(setting: Setting) -> list[str]:
    default = "required" if setting.required else f"`{as_toml(setting.default)}`"
    kind = setting.expects
    if setting.choices:
        kind = ", ".join(f"`{choice}`" for choice in setting.choices)
    return [f"`{setting.name}`", default, kind, f"`{setting.environment}`", setting.meaning]


def _flags() -> Iterator[str]:
    yield "## Flags\n\nThese flags of `scribe-node` set a key and win over file and variables.\n"
    yield from _table(["Flag", "Sets"], [[f"`{flag}`", f"`{key}`"] for key, flag in FLAGS.items()])


def _old_spellings() -> Iterator[str]:
    yield "## Spellings of the original\n"
    yield "They load with one warning each. An old and a present spelling in the same source must agree.\n"
    rows = [[f"`{key}`", _meaning(old)] for key, old in OLD_KEYS.items()]
    rows += [[f"`{name}`", _meaning(old)] for name, old in OLD_ENVIRONMENT.items()]
    yield from _table(["Old", "Now"], rows)


def _meaning(old: OldSpelling) -> str:
    if old.ignored:
        return f"ignored: {old.ignored}"
    now = " and ".join(f"`{key}`" for key in old.successors)
    if old.kind != "float":
        return now
    return f"{now}; seconds became milliseconds" + (", and the second is twice the first" if old.successors[1:] else "")


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(row) + " |" if row[0] != "---" else "|" + "|".join(row) + "|"
    yield ""


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(with_tables(Path(name).read_text(encoding="utf-8")), encoding="utf-8")
