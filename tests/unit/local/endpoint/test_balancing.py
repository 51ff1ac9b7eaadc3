"""ELBv2 on the deployment's load balancers."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from local.balancer import HealthCheck
from tests.unit.local.endpoint.conftest import Account, soon


def test_a_balancer_has_the_name_that_clients_use(account: Account) -> None:
    internal = account.create_balancer("internal")
    assert account.balancer["DNSName"] == "127.0.0.2"
    assert internal["DNSName"] == "mock-servers.secure-proxy.internal"
    assert account.balancer["Type"] == internal["Type"] == "network"


def test_a_second_balancer_of_a_scheme_is_refused(account: Account) -> None:
    with pytest.raises(ClientError, match="TooManyLoadBalancers"):
        account.elbv2.create_load_balancer(Name="other", Subnets=account.subnets, Type="network")
    assert len(account.elbv2.describe_load_balancers()["LoadBalancers"]) == 1


def test_listeners_and_target_groups_become_the_balancers(account: Account) -> None:
    soon(lambda: len(account.world.listeners.get("public", [])) == 2)
    wss, oauth = account.world.listeners["public"]
    assert (wss.port, wss.target_port, wss.role) == (10000, 10000, "secure-proxy")
    assert (oauth.port, oauth.target_port) == (11080, 11080)
    assert wss.health_check == HealthCheck(8080, "/readyz")
    assert account.world.listeners["internal"] == []


def test_a_deleted_listener_is_taken_away(account: Account) -> None:
    account.elbv2.delete_listener(ListenerArn=account.listeners[0])
    soon(lambda: [listener.port for listener in account.world.listeners.get("public", [])] == [11080])


def test_a_deleted_balancer_leaves_no_listener(account: Account) -> None:
    soon(lambda: len(account.world.listeners.get("public", [])) == 2)
    account.elbv2.delete_load_balancer(LoadBalancerArn=account.balancer["LoadBalancerArn"])
    soon(lambda: account.world.listeners["public"] == [])


def test_target_health_is_what_the_balancer_found(account: Account) -> None:
    [instance_id] = account.fill(1)
    [healthy] = account.health()
    assert healthy["Target"] == {"Id": instance_id, "Port": 10000}
    account.world.sick.add(instance_id)
    [unhealthy] = account.health()
    assert unhealthy["TargetHealth"]["State"] == "unhealthy"
    assert "503" in unhealthy["TargetHealth"]["Description"]
    account.world.sick.clear()
    account.world.unasked.add(instance_id)
    assert account.states() == ["initial"]


def test_a_target_behind_no_listener_is_unused(account: Account) -> None:
    account.fill(1)
    account.elbv2.delete_listener(ListenerArn=account.listeners[0])
    [target] = account.health()
    assert (target["TargetHealth"]["State"], target["TargetHealth"]["Reason"]) == ("unused", "Target.NotInUse")


def test_a_deregistered_target_drains_and_is_gone(account: Account) -> None:
    [instance_id] = account.fill(1)
    account.elbv2.deregister_targets(TargetGroupArn=account.target_groups[0], Targets=[{"Id": instance_id}])
    assert account.states() == ["draining"]
    soon(lambda: account.health() == [])
    soon(lambda: [listener.registered for listener in account.world.listeners["public"]] == [(), (instance_id,)])


def test_a_pending_instance_is_no_target(account: Account) -> None:
    account.world.gate.clear()
    account.resize(DesiredCapacity=1)
    soon(lambda: len(account.group()["Instances"]) == 1)
    [instance] = account.group()["Instances"]
    with pytest.raises(ClientError, match="not in a running state"):
        account.elbv2.register_targets(
            TargetGroupArn=account.target_groups[0], Targets=[{"Id": instance["InstanceId"]}]
        )
