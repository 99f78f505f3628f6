"""The reference page and the shipped files say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.config import Config, reference
from scribe_ledger.config.catalogue import SECTIONS, SETTINGS, as_toml
from scribe_ledger.config.old_spellings import OLD_ENVIRONMENT, OLD_KEYS
from scribe_ledger.config.problems import SettingsError

if TYPE_CHECKING:
    from tests.config.conftest import Load

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "settings.md"


def test_tables_of_the_page_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert reference.with_tables(page) == page, (
        "call `python -m scribe_ledger.config.reference docs/reference/settings.md`"
    )


def documented() -> dict[str, list[str]]:
    """Key to the cells of its row, read from the page alone."""
    rows: dict[str, list[str]] = {}
    section = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = re.fullmatch(r"### `\[(.+)\]`", line)
            section = heading[1] if heading else ""
        elif section and line.startswith("| `"):
            name, *cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
            rows[f"{section}.{name.strip('`')}"] = cells
    return rows


def test_every_setting_is_documented_with_default_variable_and_meaning() -> None:
    rows = documented()
    assert list(rows) == list(SETTINGS)
    for key, (default, kind, variable, meaning) in rows.items():
        setting = SETTINGS[key]
        assert default == ("required" if setting.required else f"`{as_toml(setting.default)}`")
        assert variable == f"`SCRIBE_{key.upper().replace('.', '_')}`"
        assert kind
        assert meaning.endswith(".")


def test_documented_defaults_are_those_of_a_config() -> None:
    for row in Config().describe():
        assert documented()[row.key][0] == f"`{as_toml(row.value)}`"


def test_every_old_spelling_is_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in [*OLD_KEYS, *OLD_ENVIRONMENT] if f"| `{name}` |" not in page] == []


def test_every_section_says_what_it_is() -> None:
    for table, model in SECTIONS.items():
        assert (model.__doc__ or "").startswith(f"`[{table}]`: ")


def test_example_of_an_error_on_the_page_is_what_is_printed(load: Load) -> None:
    with pytest.raises(SettingsError) as caught:
        load("[network]\nclient_prot = 8001", environ={"SCRIBE_NETWORK_RAFT_PORT": "70000"})
    assert f"```text\n{caught.value.message}\n```" in PAGE.read_text(encoding="utf-8")


def test_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no lines"):
        reference.with_tables("# Settings")


# --- shipped files ---------------------------------------------------------------------------------------------

S3_TABLES = (Path(__file__).parent / "original" / "second-s3.toml").read_text(encoding="utf-8")


def test_shipped_file_holds_the_defaults() -> None:
    config = Config.load(ROOT / "config.toml", environ={})
    assert config.model_dump() == Config().model_dump()
    assert config.warnings == ()
    assert config.storage.s3 is None


def test_comments_of_the_shipped_file_are_settings_too(load: Load) -> None:
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    config = load(re.sub(r"^# ?", "", text[text.index("# [storage.s3]") :], flags=re.MULTILINE))
    assert config.storage.s3 is not None
    commented = re.findall(r"^# (\w+) = ", text, re.MULTILINE)
    names = {setting.name for setting in SETTINGS.values()}
    assert set(commented) <= names
    assert "insecure" in commented


@pytest.mark.parametrize("name", ["config.toml", "config-node1.toml", "config-node2.toml", "config-node3.toml"])
def test_s3_tables_can_be_appended_to_a_shipped_file(name: str, load: Load) -> None:
    config = load((ROOT / name).read_text(encoding="utf-8") + "\n" + S3_TABLES)
    assert config.object_store_url == "s3://scribe-ledger-node1"


def test_shipped_nodes_form_one_cluster() -> None:
    nodes = [Config.load(ROOT / f"config-node{number}.toml", environ={}) for number in (1, 2, 3)]
    assert [node.node.id for node in nodes] == [1, 2, 3]
    assert [node.client_port for node in nodes] == [8001, 8002, 8003]
    assert [node.raft_port for node in nodes] == [9001, 9002, 9003]
    assert len({node.data_dir for node in nodes}) == 3
    everyone = {node.advertised_raft_address for node in nodes}
    for node in nodes:
        assert set(node.network.seed_peers) == everyone - {node.advertised_raft_address}
        assert node.is_cluster_member()
        assert node.warnings == ()
        node.check_exposure()
