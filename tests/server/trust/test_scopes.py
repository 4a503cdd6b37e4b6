"""Every RPC that is served has a scope on purpose."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

pytest.importorskip("google.protobuf", reason="the server extra is not installed")

from limbeck_server import rpc
from limbeck_server.trust.identity import Scope
from limbeck_server.trust.scopes import SCOPES, needed


def served_methods():
    for module in pkgutil.iter_modules(rpc.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"limbeck_server.rpc.{module.name}").DESCRIPTOR
            if file.package != "limbeck.worker.v1":
                for service in file.services_by_name.values():
                    yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


def test_every_public_rpc_has_a_scope_of_its_own():
    assert [method for method in served_methods() if method not in SCOPES] == []


def test_the_table_names_no_rpc_of_ours_that_does_not_exist():
    ours = {method for method in SCOPES if method.startswith("/limbeck.")}
    assert ours <= set(served_methods())


def test_what_the_table_does_not_know_needs_admin():
    assert needed("/limbeck.v9.NewService/NewMethod") == Scope.ADMIN


def test_only_probes_are_open():
    opened = {method.rpartition("/")[2] for method, scope in SCOPES.items() if scope is None}
    assert opened == {"Check", "Watch", "ServerLive", "ServerReady"}
