import pytest
from docker.dockerfile import DockerfileError, expand, parse


@pytest.fixture
def parsed(tmp_path):
    def parse_text(text):
        path = tmp_path / "Dockerfile"
        path.write_text(text)
        return parse(path)

    return parse_text


def test_a_stage_knows_its_name_and_what_it_stands_on(parsed):
    first, second = parsed("FROM debian:12 AS base\nFROM base\n")
    assert (first.name, first.base, second.name, second.base) == ("base", "debian:12", "1", "base")


def test_lines_that_go_on_are_one_instruction_and_comments_between_them_go(parsed):
    (stage,) = parsed("FROM a:1\n# why\nRUN one \\\n  # not this\n  && two\n")
    assert [one.text for one in stage.all("RUN")] == ["one && two"]


def test_flags_are_apart_from_what_is_copied(parsed):
    (stage,) = parsed("FROM a:1\nCOPY --from=deps --chown=1:1 /a /b/\n")
    copy = stage.last("COPY")
    assert (copy.flags, copy.words) == ({"from": "deps", "chown": "1:1"}, ["/a", "/b/"])


def test_an_array_and_a_line_give_the_same_words(parsed):
    (stage,) = parsed('FROM a:1\nVOLUME ["/a", "/b c"]\nEXPOSE 1 2\n')
    assert (stage.last("VOLUME").words, stage.last("EXPOSE").words) == (["/a", "/b c"], ["1", "2"])


def test_values_of_env_keep_their_quotes_and_equal_signs(parsed):
    (stage,) = parsed('FROM a:1\nENV A="x y" \\\n  B=c=d\n')
    assert stage.last("ENV").pairs == {"A": "x y", "B": "c=d"}


def test_a_health_check_gives_its_command(parsed):
    (stage,) = parsed('FROM a:1\nHEALTHCHECK --interval=3s --retries=1 CMD ["x", "y"]\n')
    assert stage.health_command == ["x", "y"]


def test_the_last_of_a_kind_counts(parsed):
    (stage,) = parsed("FROM a:1\nUSER root\nUSER 1000\n")
    assert stage.last("USER").text == "1000"


@pytest.mark.parametrize("line", ["ADD x /x", "ARG TOKEN", "RUN --mount=type=cache,target=/x y", 'SHELL ["bash"]'])
def test_what_is_not_understood_is_refused(parsed, line):
    with pytest.raises(DockerfileError, match="is not read here"):
        parsed(f"FROM a:1\n{line}\n")


def test_an_instruction_before_the_first_stage_is_refused(parsed):
    with pytest.raises(DockerfileError, match="before the first FROM"):
        parsed("RUN x\n")


def test_an_instruction_that_does_not_end_is_refused(parsed):
    with pytest.raises(DockerfileError, match="does not end"):
        parsed("FROM a:1\nRUN x \\\n")


def test_variables_are_replaced_with_and_without_braces():
    assert expand("/a:$PATH:${PATH}:$NONE", {"PATH": "/b"}) == "/a:/b:/b:"
