"""Stacks of resources that note what is done to them: order, failure, updates, removal."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.endpoint.clients import Clients
from local.endpoint.cloudformation import resource_type
from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceError, ResourceType
from local.endpoint.cloudformation.stack import Change, Stack
from local.endpoint.cloudformation.template import Template


@dataclass
class Shop:
    """Where the things of a test are made: what exists (by `Ref`), and what was done in which order."""

    existing: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # such as `create A`

    def note(self, word: str, name: str) -> None:
        self.done.append(f"{word} {name}")
        if f"{word} {name}" in self.refused:
            raise ResourceError(f"cannot {word} {name}")


class Thing(ResourceType):
    name = "Test::Thing"
    updates = True
    replaced_by = frozenset({"Fixed"})

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def create(self, context: Context, properties: Properties) -> Made:
        made = context.begun(
            Made(f"{context.logical_id}/{properties.get('Fixed', '')}", {"Size": properties.get("Size")})
        )
        self._shop.existing[made.ref] = dict(properties)
        properties.get("Other")
        self._shop.note("create", context.logical_id)
        return made

    def update(self, context: Context, made: Made, _old: Properties, new: Properties) -> Made:
        self._shop.existing[made.ref] = dict(new.all())
        self._shop.note("update", context.logical_id)
        return Made(made.ref, {"Size": new.get("Size")})

    def delete(self, context: Context, made: Made, _properties: Properties) -> None:
        self._shop.note("delete", context.logical_id)
        del self._shop.existing[made.ref]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop()
    monkeypatch.setitem(resource_type._TYPES, Thing.name, Thing(shop))
    return shop


@pytest.fixture
def stack() -> Stack:
    return Stack("stack", Clients(lambda *_: [], "http://localhost"), dict)


def change(stack: Stack, **resources: dict[str, Any]) -> str:
    """Brings the stack to hold things with these properties; its status after that."""
    entries = {}
    for name, given in resources.items():
        properties = {key: value for key, value in given.items() if key not in ("DependsOn", "DeletionPolicy")}
        entries[name] = {"Type": Thing.name, **given, "Properties": properties}
    outputs = {"First": {"Value": {"Ref": next(iter(resources))}}}
    stack.change(Change(Template(json.dumps({"Resources": entries, "Outputs": outputs})), {}, {}), "token")
    stack.settled(10)
    return stack.status


def reasons(stack: Stack) -> list[str]:
    return [event.reason for event in stack.events if event.status.endswith("_FAILED")]


NEEDS_A = {"Other": {"Ref": "A"}}


def test_resources_are_made_in_the_order_of_their_needs(shop: Shop, stack: Stack) -> None:
    assert change(stack, B=NEEDS_A, A={}) == "CREATE_COMPLETE"
    assert shop.done == ["create A", "create B"]
    assert shop.existing["B/"] == {"Other": "A/"}
    assert stack.outputs["First"]["OutputValue"] == "B/"


def test_a_failed_creation_leaves_nothing_and_says_why(shop: Shop, stack: Stack) -> None:
    shop.refused = {"create C"}
    assert change(stack, A={}, B=NEEDS_A, C={"Other": {"Ref": "B"}}) == "ROLLBACK_COMPLETE"
    assert shop.existing == {}
    assert shop.done[-3:] == ["delete C", "delete B", "delete A"]
    assert reasons(stack) == ["cannot create C"]


def test_a_property_that_nobody_reads_fails_the_resource(shop: Shop, stack: Stack) -> None:
    assert change(stack, A={"Colour": "red"}) == "ROLLBACK_COMPLETE"
    assert "Colour" in reasons(stack)[0]
    assert shop.existing == {}


def test_an_update_touches_only_what_changed(shop: Shop, stack: Stack) -> None:
    change(stack, A={}, B={"Other": 1})
    shop.done.clear()
    assert change(stack, A={}, B={"Other": 2}) == "UPDATE_COMPLETE"
    assert shop.done == ["update B"]


def test_a_change_reaches_what_refers_to_it(shop: Shop, stack: Stack) -> None:
    size = {"Other": {"Fn::GetAtt": ["A", "Size"]}}
    change(stack, A={"Size": 1}, B=size)
    shop.done.clear()
    change(stack, A={"Size": 2}, B=size)
    assert shop.done == ["update A", "update B"]
    assert shop.existing["B/"] == {"Other": 2}


def test_a_replacement_is_made_before_the_old_one_is_deleted(shop: Shop, stack: Stack) -> None:
    change(stack, A={"Fixed": "1"}, B=NEEDS_A)
    shop.done.clear()
    assert change(stack, A={"Fixed": "2"}, B=NEEDS_A) == "UPDATE_COMPLETE"
    assert shop.done == ["create A", "update B", "delete A"]
    assert set(shop.existing) == {"A/2", "B/"}


def test_what_the_template_does_not_hold_any_more_is_deleted(shop: Shop, stack: Stack) -> None:
    change(stack, A={}, B=NEEDS_A)
    assert change(stack, A={}) == "UPDATE_COMPLETE"
    assert set(shop.existing) == {"A/"}


def test_a_failed_update_is_taken_back(shop: Shop, stack: Stack) -> None:
    change(stack, A={"Size": 1}, B={"Fixed": "1"}, D={})
    before = dict(shop.existing)
    shop.refused = {"create C"}
    changed: dict[str, dict[str, Any]] = {"A": {"Size": 2}, "B": {"Fixed": "2"}, "C": {"DependsOn": ["A", "B"]}}
    assert change(stack, **changed) == "UPDATE_ROLLBACK_COMPLETE"
    assert shop.existing == before
    assert reasons(stack) == ["cannot create C"]
    shop.refused = set()
    assert change(stack, **changed) == "UPDATE_COMPLETE"
    assert set(shop.existing) == {"A/", "B/2", "C/"}


def test_an_update_that_fails_half_way_is_taken_back_too(shop: Shop, stack: Stack) -> None:
    change(stack, A={"Size": 1})
    shop.refused = {"update A"}
    change(stack, A={"Size": 2})
    assert shop.existing["A/"] == {"Size": 1}


def test_deletion_takes_each_resource_before_what_it_needs(shop: Shop, stack: Stack) -> None:
    change(stack, A={}, B={})
    change(stack, A={"Other": {"Ref": "B"}}, B={})
    shop.done.clear()
    stack.delete("token")
    stack.settled(10)
    assert stack.status == "DELETE_COMPLETE"
    assert shop.done == ["delete A", "delete B"]


def test_a_resource_that_is_to_be_retained_stays(shop: Shop, stack: Stack) -> None:
    change(stack, A={"DeletionPolicy": "Retain"}, B={})
    stack.delete("token")
    stack.settled(10)
    assert stack.status == "DELETE_COMPLETE"
    assert set(shop.existing) == {"A/"}


def test_a_deletion_that_fails_can_be_tried_again(shop: Shop, stack: Stack) -> None:
    change(stack, A={}, B={})
    shop.refused = {"delete A"}
    stack.delete("token")
    stack.settled(10)
    assert (stack.status, reasons(stack)[0]) == ("DELETE_FAILED", "cannot delete A")
    shop.refused = set()
    stack.delete("token")
    stack.settled(10)
    assert stack.status == "DELETE_COMPLETE"
    assert shop.existing == {}
