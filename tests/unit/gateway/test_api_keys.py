"""Keys in a file, the keyring that follows it, sessions, and the commands that make them."""

import json
import os
import re
import subprocess
import sys

import pytest

from support.servers import clean_environ
from telelink_gateway.api_keys.guard import is_from_elsewhere, scope_needed, session_token
from telelink_gateway.api_keys.keyring import LOOK_EVERY_S, Keyring
from telelink_gateway.api_keys.keys import KeysFileError, id_in, new_key, read_keys, write_keys
from telelink_gateway.api_keys.sessions import LIFETIME_S, MOST, Sessions


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


def written(file, *keys):
    write_keys(file, {key.id: key for key in keys})


def test_a_key_is_kept_as_its_hash_alone_and_read_back(file):
    text, key = new_key("crm", ["predict", "history"])
    written(file, key)
    assert re.fullmatch(r"tlk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)
    assert text.split("_", 2)[2] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_keys(file) == {key.id: key}
    assert Keyring(file).find(text.encode()) == key


def test_nothing_but_the_whole_key_is_right(file):
    (text, key), (other, _) = new_key("crm", ["predict"]), new_key("crm", ["predict"])
    written(file, key)
    keyring = Keyring(file)
    mixed = text[: text.rindex("_")] + other[other.rindex("_") :]
    for wrong in ("", "tlk_", text[:-1], text + "x", text.upper(), other, mixed, key.id, key.sha256.hex(), "x" * 9_999):
        assert keyring.find(wrong.encode()) is None
    assert keyring.find(b"tlk_\xff\xfe_") is None


def test_a_changed_file_is_followed_and_a_bad_one_changes_nothing(file):
    (old_text, old), (new_text, new) = new_key("crm", ["predict"]), new_key("crm", ["predict"])
    clock = Clock()
    written(file, old)
    keyring = Keyring(file, clock)
    written(file, old, new)
    assert keyring.find(new_text.encode()) is None  # looked at a moment ago
    clock.now += LOOK_EVERY_S
    assert keyring.find(new_text.encode()) == new
    assert keyring.find(old_text.encode()) == old
    for spoil in (lambda: file.write_text("{"), lambda: file.write_text('{"keys": [{}]}'), file.unlink):
        spoil()
        clock.now += LOOK_EVERY_S
        assert keyring.find(new_text.encode()) == new
    written(file, new)
    clock.now += LOOK_EVERY_S
    assert keyring.find(old_text.encode()) is None
    assert keyring.with_id(new.id) == new


def entry(**changes):
    _, key = new_key("crm", ["predict"])
    return {
        "id": key.id,
        "name": key.name,
        "scopes": ["predict"],
        "sha256": key.sha256.hex(),
        "created_at": key.created_at,
    } | changes


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"keys": [], "more": 1}',
        json.dumps({"keys": [entry(scopes=["canary"])]}),
        json.dumps({"keys": [entry(scopes=[])]}),
        json.dumps({"keys": [entry(sha256="canary")]}),
        json.dumps({"keys": [entry(name="canary\n")]}),
        json.dumps({"keys": [entry(canary=1)]}),
        json.dumps({"keys": [entry(id="a" * 12), entry(id="a" * 12)]}),
        json.dumps({"keys": [entry() for _ in range(3)]}),
        "canary",
    ],
)
def test_a_file_that_is_not_in_order_is_refused_without_a_word_of_it(file, content):
    file.write_text(content)
    with pytest.raises(KeysFileError) as refused:
        Keyring(file)
    assert "canary" not in str(refused.value)
    assert str(file) in str(refused.value)


def test_a_file_that_could_not_be_read_is_read_once_it_can_be_though_nothing_tells_that_it_has_changed(file):
    clock = Clock()
    text, key = new_key("crm", ["predict"])
    written(file, key)
    keyring = Keyring(file, clock)
    written(file)
    without = file.read_bytes()
    file.write_bytes(b" " * len(without))
    broken = file.stat()
    clock.now += LOOK_EVERY_S
    assert keyring.find(text.encode()) == key
    file.write_bytes(without)
    os.utime(file, ns=(broken.st_atime_ns, broken.st_mtime_ns))
    clock.now += LOOK_EVERY_S
    assert keyring.find(text.encode()) is None


def test_commands_at_the_same_time_all_count(file):
    command = [sys.executable, "-m", "telelink_gateway.api_keys", "--file", file, "create", "--scope", "predict"]
    started = [
        subprocess.Popen([*command, "--name", f"n{number}"], stdout=subprocess.PIPE, text=True) for number in range(6)
    ]
    texts = [process.communicate()[0].strip() for process in started]
    assert {process.returncode for process in started} == {0}
    assert {id_in(text.encode()) for text in texts} == set(read_keys(file))


def test_a_file_that_is_not_there_is_refused(file):
    with pytest.raises(KeysFileError, match="cannot be read"):
        Keyring(file)


def test_a_session_lasts_its_time_and_ends_when_it_is_closed():
    clock = Clock()
    sessions = Sessions(clock)
    token = sessions.open("k1", b"hash").encode()
    assert sessions.find(token) == ("k1", b"hash")
    assert sessions.find(token[:-1]) is None
    clock.now += LIFETIME_S - 1
    assert sessions.find(token) is not None
    clock.now += 1
    assert sessions.find(token) is None
    other = sessions.open("k1", b"hash").encode()
    sessions.close(other)
    assert sessions.find(other) is None
    sessions.close(b"unknown")


def test_of_too_many_sessions_the_oldest_ends():
    sessions = Sessions(Clock())
    first, *rest = [sessions.open("k", b"") for _ in range(MOST + 1)]
    assert sessions.find(first.encode()) is None
    assert sessions.find(rest[0].encode()) == sessions.find(rest[-1].encode()) == ("k", b"")


@pytest.mark.parametrize(
    ("headers", "elsewhere"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin", "origin": "http://a:8000", "host": "a:8000"}, False),
        ({"origin": "http://a:8000", "host": "a:8000"}, False),
        ({"origin": "https://a", "host": "a"}, False),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://a:8000", "host": "a:8000"}, True),
        ({"origin": "http://a:8001", "host": "a:8000"}, True),
        ({"origin": "http://b.a", "host": "a"}, True),
        ({"origin": "null", "host": "a"}, True),
        ({"origin": "http://a"}, True),
        ({"origin": "http://[", "host": "["}, True),
    ],
)
def test_another_origin_is_told_by_what_browsers_say(headers, elsewhere):
    assert is_from_elsewhere({name.encode(): value.encode() for name, value in headers.items()}) is elsewhere


def test_the_token_is_found_among_other_cookies():
    assert session_token({b"cookie": b"a=b; telelink_session=abc=; c=d"}) == b"abc="
    assert session_token({b"cookie": b"xtelelink_session=abc"}) is session_token({}) is None


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/predict", "predict"),
        ("/stats", "history"),
        ("/v1/what-if", "predict"),
        ("/v1/what-if/more", "predict"),
        ("/v1/erasures", "admin"),
        ("/v1/anything", "admin"),
        ("/v1", "admin"),
        ("/v1/", "admin"),
        ("/v1/Session", "admin"),
        ("/v1/session", None),
        ("/", None),
        ("/livez", None),
    ],
)
def test_each_address_needs_its_scope_and_an_unknown_one_of_the_api_the_highest(path, scope):
    assert scope_needed(path) == scope


def keys_command(file, *arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "telelink_gateway.api_keys", *arguments],
        env=clean_environ() | {"TELELINK_API_KEYS_FILE": str(file)} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_make_list_and_revoke_keys_two_of_a_name_at_most(file):
    create = ("create", "--name", "crm", "--scope", "predict", "--scope", "history")
    first, second = keys_command(file, *create).stdout.strip(), keys_command(file, *create).stdout.strip()
    third = keys_command(file, *create)
    assert (third.returncode, third.stdout) == (1, "")
    assert "revoke" in third.stderr
    keyring = Keyring(file)
    assert keyring.find(first.encode()).scopes == {"predict", "history"}
    listed = keys_command(file, "list").stdout
    assert [line.split("\t")[2:] for line in listed.splitlines()] == [["history,predict", "crm"]] * 2
    assert first not in listed
    assert keys_command(file, "revoke", first.split("_")[1]).returncode == 0
    assert Keyring(file).find(first.encode()) is None
    assert Keyring(file).find(second.encode()) is not None
    assert keys_command(file, "revoke", "unknown").returncode == 1


def test_the_first_key_makes_the_folder_of_its_file(tmp_path):
    file = tmp_path / "var" / "of" / "keys.json"
    text = keys_command(file, "create", "--name", "crm", "--scope", "predict").stdout.strip()
    assert Keyring(file).find(text.encode()) is not None


def test_the_commands_refuse_what_would_spoil_the_file(file):
    assert keys_command(file, "create", "--name", "a\nb", "--scope", "predict").returncode == 1
    assert keys_command(file, "create", "--name", "crm", "--scope", "root").returncode == 2
    assert keys_command("", "list").returncode == 2
    assert not file.exists()
    file.write_text("{")
    spoilt = keys_command(file, "create", "--name", "crm", "--scope", "predict")
    assert (spoilt.returncode, file.read_text()) == (1, "{")
    assert os.listdir(file.parent) == [file.name]
