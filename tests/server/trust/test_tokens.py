"""The token file: what it takes, what it refuses, and when it is read again."""

from __future__ import annotations

import os

import pytest

from limbeck_server.trust.errors import TokenFileError
from limbeck_server.trust.identity import Quotas, Scope
from limbeck_server.trust.tokens import TokenFile, add_token, new_token, read_tokens
from support.tokens import token_file


def test_a_token_is_in_no_byte_of_its_file(tmp_path):
    path, tokens = token_file(tmp_path)
    content = path.read_text()
    assert not any(token in content or token.removeprefix("limbeck_") in content for token in tokens.values())


def test_a_token_brings_its_name_scopes_and_quotas(tmp_path):
    quotas = Quotas(max_unfinished_jobs=3, max_dataset_nbytes=10**9, max_streams=0)
    token = add_token(tmp_path / "tokens.toml", "cluster-a", Scope.SUBMIT, quotas)
    identity = TokenFile(tmp_path / "tokens.toml").identify(token)
    assert (identity.name, identity.scopes, identity.quotas) == ("cluster-a", {Scope.READ, Scope.SUBMIT}, quotas)


def test_adding_a_token_keeps_those_before_and_what_people_wrote(tmp_path):
    path = tmp_path / "tokens.toml"
    first = add_token(path, "first", Scope.READ)
    path.write_text("# ours\n" + path.read_text())
    add_token(path, "second", Scope.ADMIN)
    assert TokenFile(path).identify(first).name == "first"
    assert path.read_text().startswith("# ours\n")


def test_a_name_is_given_once(tmp_path):
    path, _ = token_file(tmp_path)
    with pytest.raises(TokenFileError, match="has a token named 'read' already"):
        add_token(path, "read", Scope.READ)


@pytest.mark.parametrize("name", ["", "a b", 'a"]\n[x', "../x", "<script>", "-x", "é", "a" * 64, "a\n"])
def test_a_name_that_could_break_a_file_a_log_or_a_page_is_refused(tmp_path, name):
    with pytest.raises(TokenFileError, match="must be 1 to 63 letters"):
        add_token(tmp_path / "tokens.toml", name, Scope.READ)


def test_a_token_that_is_added_or_removed_counts_without_a_restart(tmp_path):
    path, tokens = token_file(tmp_path)
    file = TokenFile(path, poll_seconds=0)
    added = add_token(path, "late", Scope.READ)
    assert file.identify(added).name == "late"
    path.unlink()
    add_token(path, "only", Scope.READ)
    assert file.identify(tokens["admin"]) is None


def test_a_mounted_secret_is_exchanged_by_its_link(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    old = add_token(tmp_path / "one" / "tokens.toml", "old", Scope.READ)
    new = add_token(tmp_path / "two" / "tokens.toml", "new", Scope.READ)
    data = tmp_path / "data"
    data.symlink_to("one")
    file = TokenFile(data / "tokens.toml", poll_seconds=0)
    data.unlink()
    data.symlink_to("two")
    assert (file.identify(old), file.identify(new).name) == (None, "new")


@pytest.mark.parametrize("damage", ["[tokens.x", "", "[tokens.x]\nsha256='zz'\nscope='read'\n", None])
def test_a_file_that_becomes_unusable_leaves_the_tokens_as_they_were_and_is_reported_once(tmp_path, damage):
    path, tokens = token_file(tmp_path)
    problems = []
    file = TokenFile(path, poll_seconds=0, on_problem=lambda: problems.append(1))
    path.unlink() if damage is None else path.write_text(damage)
    assert file.identify(tokens["read"]).name == "read"
    assert file.identify(new_token()) is None
    assert file.problem
    assert problems == [1]


def test_a_repaired_file_is_read_again(tmp_path):
    path, tokens = token_file(tmp_path)
    good = path.read_text()
    file = TokenFile(path, poll_seconds=0)
    path.write_text("[")
    file.identify("")
    path.write_text(good)
    assert file.identify(tokens["admin"]).is_admin
    assert file.problem == ""


def test_the_file_is_looked_at_once_in_the_polling_time(tmp_path):
    path, tokens = token_file(tmp_path)
    file = TokenFile(path, poll_seconds=3600)
    path.write_text("[")
    assert file.identify(tokens["read"]).name == "read"
    assert file.problem == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[tokens.x]\nsha256='%s'\nscope='root'\n" % ("0" * 64), "tokens.x.scope"),
        ("[tokens.x]\nsha256='%s'\nscope='read'\nquota=1\n" % ("0" * 64), "tokens.x.quota"),
        ("[tokens.x]\nsha256='%s'\nscope='read'\nmax_streams=-1\n" % ("0" * 64), "tokens.x.max_streams"),
        ("[tokens.x]\ntoken='hunter2'\nscope='read'\n", "tokens.x.sha256"),
        ("[tokens.'a b']\nsha256='%s'\nscope='read'\n" % ("0" * 64), "must be 1 to 63 letters"),
        ("{1{2{3\xff", "not a TOML file"),
        ("x = 1", "tokens"),
    ],
)
def test_a_file_that_says_something_impossible_says_where(tmp_path, content, message):
    (tmp_path / "tokens.toml").write_text(content)
    with pytest.raises(TokenFileError, match=message):
        read_tokens(tmp_path / "tokens.toml")


def test_a_secret_in_the_wrong_place_is_not_repeated_in_the_message(tmp_path):
    (tmp_path / "tokens.toml").write_text("[tokens.x]\nsha256='limbeck_hunter2'\nscope='hunter2'\n")
    with pytest.raises(TokenFileError) as caught:
        read_tokens(tmp_path / "tokens.toml")
    assert "hunter2" not in str(caught.value)


def test_two_names_for_one_token_are_refused(tmp_path):
    path = tmp_path / "tokens.toml"
    add_token(path, "one", Scope.READ)
    path.write_text(path.read_text() + path.read_text().replace("one", "two").replace("read", "admin"))
    with pytest.raises(TokenFileError, match="one token to two names"):
        read_tokens(path)


def test_a_file_that_every_user_may_write_is_refused(tmp_path):
    path, _ = token_file(tmp_path)
    path.chmod(0o666)
    with pytest.raises(TokenFileError, match="chmod o-w"):
        TokenFile(path)


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "tokens.toml"
    path.touch(0o644)
    os.truncate(path, 2**40)
    with pytest.raises(TokenFileError, match="more than"):
        read_tokens(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TokenFileError, match=r"cannot read the tokens in .*missing\.toml: No such file"):
        TokenFile(tmp_path / "missing.toml")


def test_a_token_that_only_reads_sees_what_its_owner_makes(tmp_path):
    file = tmp_path / "tokens.toml"
    add_token(file, "cluster", Scope.SUBMIT)
    monitor = add_token(file, "monitor", Scope.READ, owner="cluster")
    found = TokenFile(file).identify(monitor)
    assert found is not None
    assert (found.name, found.token, Scope.SUBMIT in found.scopes) == ("cluster", "monitor", False)


@pytest.mark.parametrize("owner", ["a b", "../x"])
def test_an_owner_is_a_name(tmp_path, owner):
    with pytest.raises(TokenFileError, match="owner"):
        add_token(tmp_path / "tokens.toml", "monitor", Scope.READ, owner=owner)
