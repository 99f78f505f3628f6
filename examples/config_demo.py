"""Settings: a file, then variables, then flags, and one error that names all that is wrong.

    python examples/config_demo.py

Writes a settings file into a temporary folder, loads it the way a node does, and opens a ledger with it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from scribe_ledger import Config, ConfigurationError, Ledger

GOOD = """\
[node]
data_dir = "{folder}/data"
name = "example.org/demo"

[storage]
max_cache_size = 16777216
inline_max = 65536

[ledger]
deletes = "forbid"
"""

BAD = """\
[network]
client_port = 70000
listen_adress = "127.0.0.1"

[storage]
durability = "sometimes"
"""


def open_ledger(config: Config) -> Ledger:
    """A ledger as the settings describe it."""
    return Ledger.open(
        config.data_dir,
        name=config.node.name,
        overwrite=config.ledger.overwrite,
        deletes=config.ledger.deletes,
        durability=config.storage.durability,
        flush_interval_ms=config.storage.flush_interval_ms,
        max_cache_size=config.storage.max_cache_size,
        cache_capacity=config.api.cache_capacity,
        inline_max=config.storage.inline_max,
    )


def load_in_layers(folder: Path) -> Config:
    file = folder / "config.toml"
    file.write_text(GOOD.format(folder=folder))
    config = Config.load(
        file,
        environ={"SCRIBE_STORAGE_INLINE_MAX": "131072"},  # the process environment, if left out
        overrides={"network.client_port": 8005},  # what a flag would set
    )
    for row in config.describe():
        if row.source != "default":
            print(f"{row.key} = {row.value!r}".replace(str(folder), "…"), f"from {Path(row.source).name}")
    return config


def load_wrong(folder: Path) -> None:
    file = folder / "wrong.toml"
    file.write_text(BAD)
    try:
        Config.load(file, environ={})
    except ConfigurationError as error:
        print(error.message.replace(f"{folder}/", ""))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_ledger(load_in_layers(folder)) as ledger:
            ledger.put("greeting", "hello")
            print(f"opened {ledger.origin}, deletes = {ledger.policy.deletes}")
        load_wrong(folder)


if __name__ == "__main__":
    main()
