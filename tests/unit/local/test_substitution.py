"""Parameters: which value each takes, where it is put, and what is refused."""

from __future__ import annotations

import pytest

from local.document import Document, ExecuteBash, S3Download, parse_document
from local.errors import DocumentError
from local.substitution import substitute

TEXT = """
schemaVersion: 1.0
parameters:
  - Given: {type: string}
  - Kept: {type: string, default: by default}
constants:
  - Fixed: {type: string, value: for ever}
phases:
  - name: build
    steps:
      - name: Say
        action: ExecuteBash
        inputs:
          commands:
            - 'COMMAND'
      - name: Fetch
        action: S3Download
        inputs:
          - source: '{{ Given }}/key'
            destination: '/tmp/{{ Kept }}'
"""


def document(command: str = "{{ Given }}") -> Document:
    return parse_document(TEXT.replace("COMMAND", command), "component.yaml")


def commands(command: str, given: str = "a value") -> str:
    step = substitute(document(command), {"Given": given}, "component.yaml").phases[0].steps[0]
    assert isinstance(step, ExecuteBash)
    return step.inputs.commands[0]


@pytest.mark.parametrize("reference", ["{{ Given }}", "{{Given}}", "{{ Given}}", "{{Given   }}"])
def test_spaces_in_the_braces_do_not_matter(reference: str) -> None:
    assert commands(f"echo {reference}!") == "echo a value!"


def test_a_default_is_taken_where_no_value_is_given() -> None:
    assert commands("{{ Kept }}") == "by default"


def test_a_given_value_replaces_the_default() -> None:
    step = substitute(document("{{ Kept }}"), {"Given": "x", "Kept": "new"}, "c").phases[0].steps[0]
    assert isinstance(step, ExecuteBash)
    assert step.inputs.commands == ("new",)


def test_an_empty_value_is_a_value() -> None:
    assert commands("[{{ Given }}]", given="") == "[]"


def test_constants_are_put_in_too() -> None:
    assert commands("{{ Fixed }}") == "for ever"


def test_a_value_that_looks_like_a_reference_is_not_replaced_again() -> None:
    assert commands("{{ Given }}", given="{{ Fixed }}") == "{{ Fixed }}"


def test_downloads_are_filled_in() -> None:
    step = substitute(document(), {"Given": "s3://bucket"}, "c").phases[0].steps[1]
    assert isinstance(step, S3Download)
    assert [(entry.source, entry.destination) for entry in step.inputs] == [("s3://bucket/key", "/tmp/by default")]


def test_shell_variables_survive() -> None:
    assert commands("echo ${HOME} $1 {a,b}") == "echo ${HOME} $1 {a,b}"


@pytest.mark.parametrize("name", ["Other", "given", "GIVEN"])
def test_a_reference_to_nothing_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(DocumentError, match=rf"component.yaml: build/Say: .*{name}.* names no parameter or constant"):
        commands(f"{{{{ {name} }}}}")


@pytest.mark.parametrize(
    "reference", ["build.Say.outputs.stdout", "build.Fetch.inputs[0].destination", "loop.value", ""]
)
def test_chained_references_are_refused(reference: str) -> None:
    with pytest.raises(DocumentError, match="does not support"):
        commands(f"{{{{ {reference} }}}}")


def test_a_missing_parameter_is_refused() -> None:
    with pytest.raises(DocumentError, match="parameter Given has no default and was not given"):
        substitute(document(), {}, "component.yaml")


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"component\.yaml: there is no parameter Gvien"):
        substitute(document(), {"Given": "x", "Gvien": "y"}, "component.yaml")


def test_the_document_itself_stays_as_it_was() -> None:
    original = document()
    substitute(original, {"Given": "x"}, "c")
    assert original == document()
