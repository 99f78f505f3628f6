"""What nodes ask each other before and about membership: requests and answers, as bytes and back. No behaviour.

A message is the byte ``F`` and a JSON object with ``version`` and ``type``. Reading is strict: what is not exactly a
known message is a ``SerializationError``. Raft ids are text, since readers of JSON keep 53 bits of a number.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol, TypeAlias, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter, ValidationError

from scribe_ledger.config.addresses import split_address
from scribe_ledger.config.problems import UnsuitableError
from scribe_ledger.consensus.membership import MemberInfo
from scribe_ledger.errors import ScribeError, SerializationError
from scribe_ledger.merkle.note import Verifier

if TYPE_CHECKING:
    from scribe_ledger.consensus.transport.contract import Caller

VERSION: Final = 1
PREFIX = b"F"
"""The first byte of every request of this package."""
MAX_MESSAGE_BYTES = 1 << 20
MAX_NAMED = 1000
MAX_TEXT_BYTES = 256
"""Of an address, or a store's id."""
MAX_KEY_BYTES = 512
"""Of a member's key, as text."""


class Requests(Protocol):
    """Of the transport: asks whoever listens at an address. Errors that the other end raised are raised here."""

    async def request(
        self,
        address: str,
        request: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - the transport bounds its own waiting
        expect: int = 0,
    ) -> tuple[bytes, Caller]: ...


def _read_raft_id(value: object) -> object:
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 19):
            raise ValueError("a Raft id is a decimal number as text")
        return int(value)
    return value


def _read_info(value: object) -> object:
    if isinstance(value, dict):
        try:
            info = MemberInfo.from_json({**value, "raft_id": _read_raft_id(value["raft_id"])})
        except (KeyError, TypeError) as error:
            raise ValueError("a member has at least raft_id, node_id and its addresses") from error
        for field in fields(info):
            if type(getattr(info, field.name)).__name__ != field.type:
                raise ValueError(f"{field.name} of a member is of another type")
        _check_info(info)
        return info
    return value


def _check_info(info: MemberInfo) -> None:
    """What every member will record, dial and verify must be fit for that: a record that is not ends them all."""
    for name, number, bits in (
        ("Raft id", info.raft_id, 63),
        ("label", info.node_id, 63),
        ("apply_version", info.apply_version, 31),
    ):
        if not 0 < number < 1 << bits:
            raise ValueError(f"a member has an impossible {name}")
    for text in (info.raft_address, info.client_address, info.store_id):
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise ValueError(f"a member says something of more than {MAX_TEXT_BYTES} bytes of itself")
    try:
        for address in (info.raft_address, info.client_address):
            if split_address(address)[1] is None:
                raise ValueError(f"a member has the address {address!r}, which has no port")
    except UnsuitableError as error:
        raise ValueError(f"a member has the address {address!r}, which {error}") from error
    _check_key(info.node_key)


def _check_key(key: str) -> None:
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ValueError("a member's key is too long for one")
    try:
        if key:
            Verifier.parse(key)
    except ScribeError as error:
        raise ValueError(f"a member's key is none: {error.message}") from error


RaftId = Annotated[int, Field(ge=0, lt=1 << 63), BeforeValidator(_read_raft_id), PlainSerializer(str, when_used="json")]
"""0 stands for nobody."""
Text = Annotated[str, Field(max_length=4096)]
Whole = Annotated[int, Field(ge=0, lt=1 << 63)]
Info = Annotated[
    MemberInfo, BeforeValidator(_read_info), PlainSerializer(MemberInfo.to_json, return_type=dict[str, Any])
]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)
    version: Literal[1] = VERSION


# --- finding and founding --------------------------------------------------------------------------------------

Stage = Literal["looking", "candidate", "founding", "joining", "member"]


class Probe(Message):
    """Who are you? Answered with a ``Standing``."""

    type: Literal["probe"] = "probe"


class Standing(Message):
    """Who a node is, and how far it is on its way into a cluster."""

    type: Literal["standing"] = "standing"
    raft_id: RaftId
    node_id: Whole
    address: Text
    """Where it listens for members."""
    cluster_id: Text = ""
    stage: Stage = "looking"
    leader_address: Text = ""
    bootstrap: bool = False
    entries: Whole = 0
    """Of a ledger that stood alone so far."""
    promised_to: RaftId = 0


class AskPromise(Message):
    """Promise me, and nobody else, that I may found a cluster and you do not. Answered with ``Promised``."""

    type: Literal["ask_promise"] = "ask_promise"
    candidate: Standing
    named: Annotated[tuple[RaftId, ...], Field(max_length=MAX_NAMED)]
    """Who is behind its list of seeds, itself included, as far as it has seen them."""
    count: Whole
    """How long that list is. A promise by most of it makes a founder."""


class Promised(Message):
    type: Literal["promised"] = "promised"
    granted: bool
    reason: Text = ""
    standing: Standing


# --- joining ---------------------------------------------------------------------------------------------------


class Join(Message):
    """Take me in. Answered with a ``Welcome``, or with ``Elsewhere`` by who does not lead."""

    type: Literal["join"] = "join"
    info: Info
    entries: Whole = 0
    cluster_id: Text = ""
    policies: dict[str, str] = {}
    """That its settings ask for; empty: it takes what there is."""
    ledger_key: Text = ""
    """The verifier of a ledger key that the operator has put there; it needs none sent then."""
    shares_store: bool = False
    """Whether its settings name an object store, though nobody may have used that yet."""


class Welcome(Message):
    """You are a member: this is the ledger."""

    type: Literal["welcome"] = "welcome"
    cluster_id: Text
    """Also the ledger's id."""
    origin: Text
    created: Whole
    epoch: Whole = 0
    policies: dict[str, str]
    ledger_key: Text
    """The verifier of the ledger's key."""
    key_form: Literal["", "clear", "sealed"]
    """How the private key travels; empty: not at all."""
    key: Text = ""
    members: Annotated[tuple[Info, ...], Field(max_length=MAX_NAMED)]
    leader_address: Text


class Invite(Message):
    """There is a cluster for you, here. Answered with a ``Standing``."""

    type: Literal["invite"] = "invite"
    cluster_id: Text
    node_id: Whole
    """Whom it is meant for."""
    address: Text
    """Of a member."""


# --- what members ask their leader -----------------------------------------------------------------------------


class Leave(Message):
    type: Literal["leave"] = "leave"
    node_id: Whole


class Replace(Message):
    """A node with this label lost its folder: its next self may take its place."""

    type: Literal["replace"] = "replace"
    node_id: Whole


class Transfer(Message):
    type: Literal["transfer"] = "transfer"
    node_id: Whole


class Update(Message):
    """This is what I am now: a new address, or newer rules. By a member, of itself."""

    type: Literal["update"] = "update"
    info: Info


class Done(Message):
    type: Literal["done"] = "done"
    text: Text = ""


class Elsewhere(Message):
    """Not here: ask the leader."""

    type: Literal["elsewhere"] = "elsewhere"
    leader_address: Text
    leader: RaftId = 0


AnyMessage: TypeAlias = (
    Probe | Standing | AskPromise | Promised | Join | Welcome | Invite | Leave | Replace | Transfer | Update | Done
    | Elsewhere
)  # fmt: skip
ForLeader: TypeAlias = Join | Leave | Replace | Transfer | Update
_ANY: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="type")])
_M = TypeVar("_M", bound=Message)


def encode(message: Message) -> bytes:
    return PREFIX + message.model_dump_json().encode()


def decode(text: bytes) -> AnyMessage:
    """The message, or ``SerializationError``."""
    if not text.startswith(PREFIX) or len(text) > MAX_MESSAGE_BYTES:
        raise SerializationError("this is not a message about membership")
    try:
        _check_version(orjson.loads(text[len(PREFIX) :]))
        return _ANY.validate_json(text[len(PREFIX) :])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SerializationError(f"a message about membership is malformed: {place}: {first['msg']}") from error
    except ValueError as error:
        raise SerializationError("a message about membership is not JSON") from error


def decode_as(kind: type[_M], text: bytes) -> _M:
    """The message, which must be of this kind."""
    message = decode(text)
    if not isinstance(message, kind):
        raise SerializationError(f"{type(message).__name__} was answered where {kind.__name__} was expected")
    return message


def _check_version(content: object) -> None:
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise SerializationError(
            f"a message about membership has version {version}, this program reads up to {VERSION}",
            hint="upgrade this node",
        )
