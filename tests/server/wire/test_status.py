"""Errors to statuses and back: nothing that a client needs is lost, and nothing comes out that it must not see."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck import errors as library  # noqa: E402
from limbeck_server.spec import SpecError  # noqa: E402
from limbeck_server.store import errors as store  # noqa: E402
from limbeck_server.wire.refusal import Code, Refusal, RefusedError, RequestError, Violation  # noqa: E402
from limbeck_server.wire.status import cut, refusal_from, refusal_of, status_of  # noqa: E402

METADATA_NBYTES = 8 * 1024
"""What a gRPC client takes of metadata unless it is told otherwise."""


def every_error(kind):
    for one in kind.__subclasses__():
        if one.__module__ in (library.__name__, store.__name__):
            yield one
            yield from every_error(one)


def made(kind):
    arguments = {
        library.BudgetError: {"needed_nbytes": 2, "budget_nbytes": 1, "largest_part": "x"},
        library.QualityError: {"figures": {}, "limits": {}},
        library.ParityError: {"error": 1.0, "tolerance": 0.1},
        library.SplitsError: {"splits": ["train", "test"]},
    }
    if kind is library.UnreadableImagesError:
        return kind([("a.png", "truncated")])
    return kind("why", **arguments.get(kind, {}))


@pytest.mark.parametrize("kind", [*dict.fromkeys(every_error(library.LimbeckError))], ids=lambda kind: kind.__name__)
def test_every_error_of_library_and_ledger_has_a_code_and_its_own_words(kind):
    error = made(kind)
    refusal = refusal_of(error)
    assert refusal.code not in (Code.OK, Code.UNKNOWN)
    assert refusal.message == str(error)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (store.NotFoundError("x"), Code.NOT_FOUND, "NOT_FOUND"),
        (store.RequestConflictError("x"), Code.ALREADY_EXISTS, "REQUEST_CONFLICT"),
        (store.QuotaError("x"), Code.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"),
        (store.StoreFullError("x"), Code.UNAVAILABLE, "DISK_FULL"),
        (store.StoreReadOnlyError("x"), Code.UNAVAILABLE, "DISK_READ_ONLY"),
        (store.StoreCorruptError("x"), Code.DATA_LOSS, "LEDGER_CORRUPT"),
        (store.NotFinishedError("x"), Code.FAILED_PRECONDITION, "JOB_NOT_FINAL"),
        (store.InUseError("x"), Code.FAILED_PRECONDITION, "IN_USE"),
        (library.ConfigError("x"), Code.INVALID_ARGUMENT, "CONFIG_ERROR"),
        (library.DataError("x"), Code.INVALID_ARGUMENT, "DATA_ERROR"),
        (library.FeedError("x"), Code.INVALID_ARGUMENT, "FEED_ERROR"),
        (library.EngineError("x"), Code.INTERNAL, "ENGINE_ERROR"),
    ],
)
def test_an_error_is_said_by_its_code_and_reason(error, code, reason):
    refusal = refusal_of(error)
    assert (refusal.code, refusal.reason) == (code, reason)


@pytest.mark.parametrize("error", [store.QuotaError("x"), store.StoreFullError("x"), library.OutputError("x")])
def test_what_can_succeed_later_says_when_to_try_again(error):
    assert refusal_of(error).retry_seconds


def test_what_is_wrong_for_good_says_no_time():
    assert refusal_of(library.ConfigError("x")).retry_seconds is None


def test_an_error_that_nobody_meant_shows_an_id_and_no_text(caplog):
    with caplog.at_level(logging.ERROR):
        refusal = refusal_of(KeyError("/secret/place"))
    assert "secret" not in repr(refusal)
    assert refusal.metadata["id"] in caplog.text
    assert "secret" in caplog.text


def test_a_refusal_that_was_chosen_stays_as_it_is():
    refusal = Refusal(Code.ABORTED, "CHOSEN", "so", {"a": "b"})
    assert refusal_of(RefusedError(refusal)) is refusal


def test_a_budget_that_is_too_small_brings_its_figures():
    refusal = refusal_of(made(library.BudgetError))
    assert refusal.metadata == {"needed_nbytes": "2", "budget_nbytes": "1", "largest_part": "x"}


def test_a_spec_error_that_nobody_has_translated_is_still_the_requests_fault():
    assert refusal_of(SpecError([("ipc", "no")])).code is Code.INVALID_ARGUMENT


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=25)
refusals = st.builds(
    Refusal,
    code=st.sampled_from([code for code in Code if code is not Code.OK]),
    reason=st.sampled_from(["A", "DISK_FULL"]),
    message=texts,
    metadata=st.dictionaries(texts, texts, max_size=3),
    violations=st.lists(st.builds(Violation, texts, texts), max_size=5).map(tuple),
    retry_seconds=st.none() | st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000),
)


@given(refusals)
def test_a_refusal_comes_back_as_it_was_sent(refusal):
    assert refusal_from(status_of(refusal)) == refusal


def test_a_status_of_another_server_has_no_reason():
    status = status_of(Refusal(Code.INTERNAL, "X", "m"))
    del status.details[:]
    assert refusal_from(status) == Refusal(Code.INTERNAL, "", "m")


@pytest.mark.parametrize("letter", ["a", "é", "画", "\N{PILE OF POO}"])
def test_a_status_of_any_length_fits_what_clients_take(letter):
    long = letter * 20_000
    error = RequestError(*(Violation(f"{letter * 300}{number}", long) for number in range(50)))
    status = status_of(refusal_of(error))
    percent_encoded = 3 * len(status.message.encode())
    base64 = 4 / 3 * status.ByteSize()
    assert percent_encoded + base64 < METADATA_NBYTES


@given(st.text(max_size=30), st.integers(3, 40))
def test_a_cut_text_fits(text, nbytes):
    text = text.encode(errors="ignore").decode()
    assert len(cut(text, nbytes).encode()) <= nbytes
    assert cut(text, 200) == text
