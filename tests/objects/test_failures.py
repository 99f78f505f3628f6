"""What is made of the texts of obstore's exceptions, for answers that no test server gives."""

from __future__ import annotations

import pytest
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, PermissionDeniedError

from scribe_ledger.objects.failures import Kind, hint_for, judge

pytestmark = [pytest.mark.storage, pytest.mark.s3]


def answer(status: int, code: str = "", url: str = "https://bucket.example.com/a") -> str:
    body = f"<Error><Code>{code}</Code><Message>StringToSign</Message></Error>" if code else ""
    return (
        f"Generic S3 error: Error performing GET {url} in 1ms - Server returned non-2xx status code: {status} X: {body}"
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (GenericError(answer(500, "InternalError")), Kind.PASSING),
        (GenericError(answer(502)), Kind.PASSING),
        (GenericError(answer(429)), Kind.PASSING),
        (GenericError(answer(408)), Kind.PASSING),
        (GenericError(answer(400, "RequestTimeout")), Kind.PASSING),
        (AlreadyExistsError(answer(409, "ConditionalRequestConflict")), Kind.PASSING),
        (AlreadyExistsError(answer(409, "OperationAborted")), Kind.PASSING),
        (AlreadyExistsError(answer(412, "PreconditionFailed")), Kind.EXISTS),
        (AlreadyExistsError(answer(409, "BlobAlreadyExists")), Kind.EXISTS),
        (FileNotFoundError(answer(404, "NoSuchKey")), Kind.ABSENT),
        (FileNotFoundError(answer(404)), Kind.ABSENT),
        (FileNotFoundError(answer(404, "NoSuchBucket")), Kind.REFUSED),
        (FileNotFoundError(answer(404, "ContainerNotFound")), Kind.REFUSED),
        (FileNotFoundError(answer(404) + "The specified bucket does not exist."), Kind.REFUSED),
        (FileNotFoundError(answer(404, "NoSuchUpload")), Kind.PASSING),
        (GenericError(answer(416, "InvalidRange")), Kind.BEYOND),
        (GenericError("Generic MicrosoftAzure error: Wanted range starting at 5, but object was only 5"), Kind.BEYOND),
        (GenericError('Failed to parse value for CONTENT_RANGE header: "bytes 0--1/0"'), Kind.BEYOND),
        (GenericError(answer(403, "AccessDenied")), Kind.REFUSED),
        (PermissionDeniedError("no status"), Kind.REFUSED),
        (GenericError(answer(400, "ExpiredToken")), Kind.REFUSED),
        (GenericError(answer(400, "InvalidBucketName")), Kind.REFUSED),
        (GenericError(answer(301, "PermanentRedirect")), Kind.REFUSED),
        (GenericError("Generic S3 error: HTTP error: error sending request"), Kind.PASSING),
        (GenericError("Generic S3 error: Got invalid list response: syntax error"), Kind.PASSING),
    ],
)
def test_every_answer_has_its_meaning(error: Exception, kind: Kind) -> None:
    assert judge(error).kind is kind


@pytest.mark.parametrize(
    "text",
    [
        answer(403, "SignatureDoesNotMatch", "https://x.blob.core.windows.net/a?sig=hidden&se=1"),
        "Generic error: Error performing GET https://x.example.com/a?sig=hidden in 2s - HTTP error: error sending",
        'Generic error: HTTP error\n\nDebug source:\n uri: Some(https://x.example.com/a?sig=hidden) message: "refused"',
        "Generic error: Error performing GET https://user:hidden@x.example.com/a in 2s - HTTP error",
    ],
)
def test_what_is_shown_has_no_secret(text: str) -> None:
    failure = judge(GenericError(text))
    assert "hidden" not in str(failure)
    assert "StringToSign" not in str(failure)


def test_the_innermost_reason_is_shown() -> None:
    failure = judge(unreachable("1.2ms", 'kind: ConnectionRefused, message: "Connection refused"'))
    assert str(failure) == "HTTP error: error sending request: Connection refused"
    assert failure.hint == "check the endpoint, and that the service is up"
    failure = judge(unreachable("1.2ms", '"dns error", Custom { error: "Name or service not known" }'))
    assert str(failure) == "HTTP error: error sending request: Name or service not known"
    assert "endpoint" in failure.hint


def unreachable(duration: str, source: str) -> GenericError:
    first = f"Generic S3 error: Error performing GET http://a.example.com/b in {duration} - HTTP error"
    return GenericError(f"{first}: error sending request\n\nDebug source:\ninner: Http(\n HttpError {{ {source} }})")


def test_equal_errors_are_equal_texts() -> None:
    source = 'kind: ConnectionRefused, message: "Connection refused"'
    assert str(judge(unreachable("313.546µs", source))) == str(judge(unreachable("2s", source)))


def test_hints_are_for_the_store_at_hand() -> None:
    refused = judge(GenericError(answer(403, "AccessDenied")))
    assert "[storage.s3]" in hint_for(refused, "s3://bucket")
    assert "[storage.s3]" not in hint_for(refused, "gs://bucket")
    assert "credentials" in hint_for(refused, "az://container")
    slow = judge(GenericError("HTTP error: request or response body error\n\nDebug source:\n source: TimedOut,"))
    assert "in [storage.s3], or [storage] object_store_timeout_secs" in hint_for(slow, "s3://bucket/prefix")
    assert "raise [storage] object_store_timeout_secs" in hint_for(slow, "gs://bucket")
    nobody = judge(GenericError('HTTP error\n\nDebug source:\n "tcp connect error", kind: TimedOut'))
    assert "slow" not in hint_for(nobody, "s3://bucket")
    assert "name of the bucket" in judge(GenericError(answer(400, "InvalidBucketName"))).hint


def test_no_credentials_at_all_are_hinted_at() -> None:
    failure = judge(
        GenericError("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1s")
    )
    assert failure.kind is Kind.PASSING
    assert "no credentials" in failure.hint


def test_the_classes_of_obstore_are_all_caught() -> None:
    assert judge(BaseError("something new")).kind is Kind.PASSING
