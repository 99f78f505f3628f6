"""Mutual TLS between members: who is let in, who is not, and that both ends say why."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from tests.consensus.transport.certificates import Authority
from tests.consensus.transport.meeting import QUICK, SECRET, meeting, node, run, until
from tests.consensus.transport.wire import wire

from scribe_ledger.consensus.transport import Auth, Reason, Refused
from scribe_ledger.errors import ConfigurationError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.consensus

BOTH_LOOPS = pytest.mark.parametrize("on_uvloop", [False, True], ids=["asyncio", "uvloop"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "stranger")


@BOTH_LOOPS
@pytest.mark.parametrize("secret", ["", "and a secret"], ids=["TLS alone", "with a secret"])
def test_members_with_certificates_of_one_authority_speak(authority: Authority, secret: str, on_uvloop: bool) -> None:
    auth = authority.member("member", secret=secret)

    async def work() -> None:
        async with meeting(1, 2, auth=auth) as (one, two):
            frame = b"\x01" + bytes(3 << 20)
            assert one.transport.send(2, [b"\x01small", frame])
            await until(lambda: [each for _, each in two.seen.frames] == [b"\x01small", frame])
            answer, other = await one.transport.request(two.address, bytes(1 << 20), timeout=10)
            assert len(answer) == (1 << 20) + 5
            assert other.encrypted and two.seen.callers[-1].encrypted
            assert other.channel_key == two.seen.callers[-1].channel_key
            assert (other.channel_key is None) == (not secret)

    run(work(), on_uvloop=on_uvloop)


CALLERS: dict[str, Callable[[Authority, Authority], Auth]] = {
    "of another authority": lambda _, stranger: stranger.member("caller"),
    "of another authority, trusting ours": lambda authority, stranger: stranger.member("caller")._replace(
        tls_ca=authority.member("x").tls_ca
    ),
    "expired": lambda authority, _: authority.member("caller", expired=True),
    "without TLS": lambda *_: SECRET,
}


@BOTH_LOOPS
@pytest.mark.parametrize("make", CALLERS.values(), ids=CALLERS)
def test_a_caller_with_no_good_certificate_is_refused(
    authority: Authority, stranger: Authority, make: Callable[[Authority, Authority], Auth], on_uvloop: bool
) -> None:
    caller = make(authority, stranger)

    async def work() -> None:
        async with node(1, authority.member("one")) as one, node(2, caller) as two:
            with pytest.raises(NetworkError) as caught:
                await two.transport.request(one.address, b"x", timeout=5)
            if caller.tls:
                assert isinstance(caught.value, Refused) and caught.value.reason == Reason.TLS
            else:
                assert "perhaps" in caught.value.hint
                assert "cluster.tls_cert, tls_key, tls_ca" in caught.value.hint
            await until(lambda: one.transport.refused == {Reason.TLS: 1})
            assert one.seen.callers == []
            async with node(3, authority.member("three")) as three:
                assert (await three.transport.request(one.address, b"x", timeout=5))[0] == b"echo x"

    run(work(), on_uvloop=on_uvloop)


@BOTH_LOOPS
def test_a_caller_may_speak_before_it_is_looked_at(authority: Authority, on_uvloop: bool) -> None:
    """As on a machine that has much to do: the connection and the first bytes of TLS are seen in the same turn."""
    caller = authority.member("hasty").client_context()
    assert caller is not None

    async def work() -> None:
        async with node(1, authority.member("one")) as one:
            loop = asyncio.get_running_loop()
            with socket.create_connection(("127.0.0.1", one.port)) as plain:
                plain.settimeout(5)
                hello, answers = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = caller.wrap_bio(answers, hello)
                with pytest.raises(ssl.SSLWantReadError):
                    tls.do_handshake()
                plain.sendall(hello.read())
                answers.write(await loop.run_in_executor(None, plain.recv, 1 << 16))
                tls.do_handshake()
            assert not {Reason.OVERSIZED, Reason.GARBAGE} & set(one.transport.refused)

    run(work(), on_uvloop=on_uvloop)


def test_a_caller_that_shows_no_certificate_is_refused(authority: Authority) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE

    async def work() -> None:
        async with node(1, authority.member("one")) as one:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port, ssl=bare)
            await asyncio.gather(reader.read(1), return_exceptions=True)
            writer.close()
            await until(lambda: one.transport.refused == {Reason.TLS: 1})

    run(work())


@BOTH_LOOPS
@pytest.mark.parametrize("which", ["another authority", "expired", "plain"])
def test_an_answerer_with_no_good_certificate_is_not_spoken_with(
    authority: Authority, stranger: Authority, which: str, on_uvloop: bool
) -> None:
    answerer = {
        "another authority": stranger.member("one"),
        "expired": authority.member("expired", expired=True),
        "plain": SECRET,
    }[which]

    async def work() -> None:
        async with node(1, answerer) as one, node(2, authority.member("two")) as two:
            with pytest.raises(NetworkError) as caught:
                await two.transport.request(one.address, b"x", timeout=5)
            assert isinstance(caught.value, Refused) and caught.value.reason == Reason.TLS

    run(work(), on_uvloop=on_uvloop)


def test_a_secret_is_asked_for_within_tls_too(authority: Authority) -> None:
    async def work() -> None:
        async with node(1, authority.member("one", secret="right")) as one:
            for secret in ("", "wrong"):
                async with node(2, authority.member("two", secret=secret)) as two:
                    with pytest.raises(Refused) as caught:
                        await two.transport.request(one.address, b"x", timeout=5)
                    assert caught.value.reason == Reason.SECRET

    run(work())


@BOTH_LOOPS
def test_who_begins_no_tls_is_given_up(authority: Authority, on_uvloop: bool) -> None:
    async def work() -> None:
        limits = QUICK._replace(handshake=0.1)
        async with node(1, authority.member("one"), limits=limits) as one:
            async with wire(one.port) as silent, wire(one.port) as loud:
                loud.writer.write(b"GET / HTTP/1.1\r\n\r\n")
                await asyncio.gather(silent.ended(), return_exceptions=True)
                await asyncio.gather(loud.ended(), return_exceptions=True)
            assert one.transport.refused == {Reason.TIMEOUT: 1, Reason.TLS: 1}

    run(work(), on_uvloop=on_uvloop)


def test_files_that_cannot_be_used_are_named_at_the_start(authority: Authority, tmp_path: Path) -> None:
    good = authority.member("good")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    for wrong in (
        good._replace(tls_key=""),
        good._replace(tls_cert=str(tmp_path / "missing.pem")),
        good._replace(tls_ca=str(garbage)),
        good._replace(tls_key=authority.member("other").tls_key),
    ):
        with pytest.raises(ConfigurationError, match="tls"):
            wrong.server_context()
    context = good.server_context()
    assert context is not None and context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_a_secret_is_not_shown() -> None:
    assert "horse" not in repr(SECRET) and "horse" not in str(SECRET)
