"""`python -m telelink_gateway.api_keys`: make, list and revoke API keys. A running gateway follows by itself."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from telelink_gateway.api_keys.keys import (
    MAX_KEYS_OF_A_NAME,
    SCOPES,
    Keys,
    KeysFileError,
    changing,
    new_key,
    read_keys,
    write_keys,
)

_VARIABLE = "TELELINK_API_KEYS_FILE"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m telelink_gateway.api_keys", description=__doc__)
    parser.add_argument("--file", type=Path, default=os.environ.get(_VARIABLE) or None, help=f"default: {_VARIABLE}")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and print it: nobody can print it again")
    create.add_argument("--name", required=True, help="whose it is; two keys may have one name, to change over")
    create.add_argument("--scope", required=True, action="append", choices=SCOPES, help="what it may do; repeatable")
    commands.add_parser("list", help="print id, name, scopes and date of each key")
    revoke = commands.add_parser("revoke", help="remove a key; whoever signed in with it is signed out")
    revoke.add_argument("id")
    arguments = parser.parse_args()
    if arguments.file is None:
        parser.error(f"name the file with --file or {_VARIABLE}")
    return arguments


def _create(path: Path, keys: Keys, arguments: argparse.Namespace) -> None:
    if sum(key.name == arguments.name for key in keys.values()) >= MAX_KEYS_OF_A_NAME:
        raise KeysFileError(f"there are {MAX_KEYS_OF_A_NAME} keys of this name already; revoke one of them first")
    text, key = new_key(arguments.name, arguments.scope)
    write_keys(path, {**keys, key.id: key})
    print(text)


def _list(_path: Path, keys: Keys, _arguments: argparse.Namespace) -> None:
    for key in keys.values():
        print(key.id, key.created_at, ",".join(sorted(key.scopes)), key.name, sep="\t")


def _revoke(path: Path, keys: Keys, arguments: argparse.Namespace) -> None:
    if arguments.id not in keys:
        raise KeysFileError("there is no key of this id")
    write_keys(path, {key_id: key for key_id, key in keys.items() if key_id != arguments.id})


def main() -> int:
    """Carry out one command."""
    arguments = _arguments()
    command = {"create": _create, "list": _list, "revoke": _revoke}[arguments.command]
    try:
        with nullcontext() if arguments.command == "list" else changing(arguments.file):
            is_new = arguments.command == "create" and not arguments.file.exists()
            command(arguments.file, {} if is_new else read_keys(arguments.file), arguments)
    except (KeysFileError, OSError, ValueError) as error:
        reason = (
            "the name may have letters, digits, spaces, '.', '_' and '-'" if isinstance(error, ValueError) else error
        )
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
