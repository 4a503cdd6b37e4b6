"""Addresses that strangers reach, in all the ways to write them."""

from __future__ import annotations

import pytest

from limbeck_server.trust.errors import ExposureError
from limbeck_server.trust.exposure import check_exposure, is_local

LOCAL = [
    "127.0.0.1:50051",
    "127.8.9.1:1",
    "localhost:50051",
    "[::1]:50051",
    "[::ffff:127.0.0.1]:50051",
    "unix:/run/limbeck.sock",
    "unix:///run/limbeck.sock",
    "unix-abstract:limbeck",
    "127.1:50051",  # resolvers complete it
]
REACHABLE = [
    "0.0.0.0:50051",
    "[::]:50051",
    "0:50051",  # resolvers take it for 0.0.0.0
    "10.0.0.7:50051",
    "192.168.1.1:50051",
    "[::ffff:10.0.0.7]:50051",
    "[::ffff:0.0.0.0]:50051",
    "[fe80::1]:50051",
    "8.8.8.8:50051",
]
NO_ADDRESS = [":50051", "*:50051", "50051", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "::1:50051"]
NO_ADDRESS += ["dns:///localhost:50051", "vsock:1:1", "no-such-host.invalid:50051", "127.0.0.1:٣", "a" * 300 + ":1", ""]


@pytest.mark.parametrize("address", LOCAL)
def test_loopback_needs_nothing(address):
    check_exposure(address, tls=False, tokens=False)


@pytest.mark.parametrize("address", REACHABLE)
@pytest.mark.parametrize(
    ("tls", "tokens", "missing"),
    [(False, False, "has no TLS and no tokens"), (True, False, "has no tokens"), (False, True, "has no TLS")],
)
def test_an_address_that_others_reach_needs_tls_and_tokens(address, tls, tokens, missing):
    with pytest.raises(ExposureError, match=missing):
        check_exposure(address, tls=tls, tokens=tokens)


@pytest.mark.parametrize("address", REACHABLE)
def test_with_tls_and_tokens_an_address_may_be_reached(address):
    check_exposure(address, tls=True, tokens=True)


@pytest.mark.parametrize("address", REACHABLE)
def test_an_operator_who_insists_may_do_without(address):
    check_exposure(address, tls=False, tokens=False, insecure=True)


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_what_is_no_address_is_not_taken_for_a_local_one(address):
    with pytest.raises(ExposureError):
        is_local(address)
