"""The script that keeps nginx knowing where the gateway is, with a name server and an nginx that do as told."""

import os
import subprocess

import pytest

from support.nginx import FRONTEND, follower
from support.servers import wait_until

# One line of `answers` for each look, the last one for ever; a line is addresses, or nothing. Like the real one, each
# address comes once for each kind of socket.
GETENT = """#!/bin/sh
echo look >>"$FOLDER/trace"
n=$(grep -c look "$FOLDER/trace")
[ "$n" -le "$(grep -c '' "$FOLDER/answers")" ] || n='$'
found=$(sed -n "${n}p" "$FOLDER/answers")
for address in $found; do printf '%s STREAM gateway\\n%s DGRAM\\n' "$address" "$address"; done
[ -n "$found" ] || exit 2
"""
# Notes what it would read, then fails as often as `refusals` has lines.
NGINX = """#!/bin/sh
echo "$*:" $(sed -n 's/.*server \\(.*\\);/\\1/p' "$UPSTREAM_FILE") >>"$FOLDER/trace"
[ -s "$FOLDER/refusals" ] || exit 0
sed -i 1d "$FOLDER/refusals"
exit 1
"""
# Ready are all whose probe is not a line of `not-ready`. It is a network call: it must not be needed often.
CURL = """#!/bin/sh
for url; do :; done
echo "$url" >>"$FOLDER/probes"
# Who is asked with others is answered only when they have been asked too.
n=$(cat "$FOLDER/at-once" 2>/dev/null || echo 1)
while [ "$(wc -l <"$FOLDER/probes")" -lt "$n" ]; do sleep 0.01; done
! grep -qsx "$url" "$FOLDER/not-ready"
"""


@pytest.fixture
def start(tmp_path):
    """Starts the script with these answers, until the test ends."""
    (tmp_path / "bin").mkdir()
    for name, text in (("getent", GETENT), ("nginx", NGINX), ("curl", CURL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def with_answers(*answers, **settings):
        (tmp_path / "answers").write_text("".join(f"{each}\n" for each in answers))
        return follower(
            "gateway:8000",
            tmp_path / "gateway.conf",
            PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            FOLDER=str(tmp_path),
            GATEWAY_LOOK_EVERY_S="0.01",
            **settings,
        )

    return with_answers


def servers(folder):
    lines = (folder / "gateway.conf").read_text().splitlines()
    return [line.strip() for line in lines if "server " in line]


def trace(folder, n_looks):
    """What happened up to the look of this number: `look`, or what a reload read."""

    def long_enough():
        lines = (folder / "trace").read_text().splitlines()
        looks = [number for number, line in enumerate(lines) if line == "look"]
        return lines[: looks[n_looks]] if len(looks) > n_looks else None

    return wait_until(long_enough, what=f"look {n_looks + 1}")


def test_the_block_is_there_before_nginx_starts_and_an_unchanged_answer_reloads_nothing(start, tmp_path):
    with start("10.0.0.2 10.0.0.1"):
        assert servers(tmp_path) == ["server 10.0.0.1:8000 max_fails=0;", "server 10.0.0.2:8000 max_fails=0;"]
        assert trace(tmp_path, 4) == ["look"] * 4


def test_a_changed_address_is_read_at_once(start, tmp_path):
    with start("10.0.0.1", "10.0.0.1", "10.0.0.2"):
        assert trace(tmp_path, 5) == [*["look"] * 3, "-s reload: 10.0.0.2:8000 max_fails=0", "look", "look"]


def not_ready(folder, *addresses):
    """From the next look on."""
    (folder / "next").write_text("".join(f"http://{address}:8000/readyz\n" for address in addresses))
    (folder / "next").rename(folder / "not-ready")


def reloaded(folder, *addresses):
    wanted = f"-s reload: {' '.join(f'{address}:8000 max_fails=0' for address in addresses)}"
    wait_until(lambda: wanted in (folder / "trace").read_text().splitlines(), what=wanted)


def test_of_several_gateways_those_that_are_about_to_stop_are_not_asked(start, tmp_path):
    with start("10.0.0.1 10.0.0.2"):
        not_ready(tmp_path, "10.0.0.1")
        reloaded(tmp_path, "10.0.0.2")
        not_ready(tmp_path, "10.0.0.2")
        reloaded(tmp_path, "10.0.0.1")
        not_ready(tmp_path)
        reloaded(tmp_path, "10.0.0.1", "10.0.0.2")


def test_several_gateways_are_asked_at_once_so_that_one_that_is_gone_keeps_no_other_waiting(start, tmp_path):
    (tmp_path / "at-once").write_text("3")
    with start("10.0.0.1 10.0.0.2 10.0.0.3"):
        assert len(servers(tmp_path)) == 3


def test_where_none_of_several_is_ready_all_are_asked(start, tmp_path):
    not_ready(tmp_path, "10.0.0.1", "10.0.0.2")
    with start("10.0.0.1 10.0.0.2"):
        assert servers(tmp_path) == ["server 10.0.0.1:8000 max_fails=0;", "server 10.0.0.2:8000 max_fails=0;"]


def test_the_only_gateway_is_asked_whether_it_is_ready_or_not_and_is_not_probed(start, tmp_path):
    not_ready(tmp_path, "10.0.0.1")
    with start("10.0.0.1"):
        assert trace(tmp_path, 4) == ["look"] * 4
        assert servers(tmp_path) == ["server 10.0.0.1:8000 max_fails=0;"]
    assert not (tmp_path / "probes").exists()


def test_known_addresses_are_given_up_only_after_three_looks_in_a_row_without_any(start, tmp_path):
    with start("10.0.0.1", "", "", "10.0.0.1", "", "", "", "", "10.0.0.1"):
        assert trace(tmp_path, 10) == [
            *["look"] * 7,
            "-s reload: 127.0.0.1:1 down",
            *["look"] * 2,
            "-s reload: 10.0.0.1:8000 max_fails=0",
            "look",
        ]


def test_a_name_without_an_address_at_the_start_does_not_keep_nginx_from_starting(start, tmp_path):
    with start("", "10.0.0.1"):
        assert trace(tmp_path, 2) == ["look", "look", "-s reload: 10.0.0.1:8000 max_fails=0"]


def is_settled(folder):
    (told,) = [line for line in (folder / "gateway.conf").read_text().splitlines() if "$is_settled" in line]
    return told == "map '' $is_settled { default 1; }"


def test_it_is_settled_once_a_gateway_is_known_and_stays_so(start, tmp_path):
    with start("10.0.0.1", "", "", "", ""):
        assert is_settled(tmp_path)
        assert trace(tmp_path, 6)[-1] == "look"
        assert servers(tmp_path) == ["server 127.0.0.1:1 down;"]
        assert is_settled(tmp_path)


def test_it_is_not_settled_before_a_gateway_is_known(start, tmp_path):
    with start(""):
        assert set(trace(tmp_path, 20)) == {"look"}
        assert not is_settled(tmp_path)
        (tmp_path / "answers").write_text("10.0.0.1\n")
        reloaded(tmp_path, "10.0.0.1")
        assert is_settled(tmp_path)


def test_where_no_gateway_is_found_it_is_settled_after_a_while(start, tmp_path):
    with start("", PATIENCE_S="1"):
        assert not is_settled(tmp_path)
        wait_until(lambda: "-s reload: 127.0.0.1:1 down" in (tmp_path / "trace").read_text(), what="no more patience")
        assert is_settled(tmp_path)


def test_a_reload_that_fails_is_tried_again_at_each_look(start, tmp_path):
    (tmp_path / "refusals").write_text("no\nno\n")
    reload = "-s reload: 10.0.0.2:8000 max_fails=0"
    with start("10.0.0.1", "10.0.0.2"):
        assert trace(tmp_path, 5) == ["look", "look", reload, "look", reload, "look", reload, "look"]


def test_a_block_that_cannot_be_written_leaves_the_old_one_and_is_tried_again(start, tmp_path):
    with start("10.0.0.1"):
        (tmp_path / "gateway.conf.new").mkdir()
        n_before = (tmp_path / "trace").read_text().count("look")
        (tmp_path / "answers").write_text("10.0.0.2\n")
        assert set(trace(tmp_path, n_before + 3)) == {"look"}
        assert servers(tmp_path) == ["server 10.0.0.1:8000 max_fails=0;"]
        (tmp_path / "gateway.conf.new").rmdir()
        wait_until(lambda: "-s reload: 10.0.0.2" in (tmp_path / "trace").read_text(), what="the new address")


@pytest.mark.parametrize("address", ["gateway", "gateway:", ":8000", "gateway:http", "gateway:8000;"])
def test_an_address_without_a_name_or_a_port_stops_the_start_with_one_line(address, tmp_path):
    done = subprocess.run(
        ["sh", FRONTEND / "nginx" / "entrypoint" / "40-follow-gateway.sh"],
        env=os.environ | {"GATEWAY_ADDRESS": address, "UPSTREAM_FILE": str(tmp_path / "gateway.conf")},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"GATEWAY_ADDRESS must be a name and a port, like gateway:8000, not '{address}'\n"
    assert list(tmp_path.iterdir()) == []
