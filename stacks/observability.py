"""What an operator looks at: metrics from the logs, alarms that reach a person, and one dashboard to open first."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stacks.load_balancer import LoadBalancer
from stacks.machine_group import MachineGroup
from stacks.names import DASHBOARD, METRICS_NAMESPACE
from stacks.settings import ProjectSettings

_MINUTE = cdk.Duration.minutes(1)
_FIVE_MINUTES = cdk.Duration.minutes(5)
_CERTIFICATE_DAYS = 21
_REVOCATION_LIST_DAYS = 3
_REJECTED_PERCENT = 50
_REJECTIONS_THAT_COUNT = 20  # in five minutes; of fewer requests, half is soon reached

_Comparison = cloudwatch.ComparisonOperator
_Missing = cloudwatch.TreatMissingData


class Observability(Construct):
    """Alarms on what users or operators would notice, and the dashboard."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ProjectSettings,
        log_group: logs.LogGroup,
        proxies: MachineGroup,
        balancers: Mapping[str, LoadBalancer],
        state_machine: sfn.StateMachine,
        attention: sqs.Queue,
        failures: sns.Topic,
    ) -> None:
        super().__init__(scope, construct_id)
        self._failures = failures
        self._log_group = log_group
        self._proxies = proxies
        self._balancers = balancers
        self._state_machine = state_machine
        self._requests = self._count("Requests", '" status="')
        self._rejected = self._count("Rejected", '" status=403 "')
        self.alarms = [
            *self._unhealthy_target_alarms(),
            self._no_healthy_proxy_alarm(),
            self._workflow_alarm(),
            self._attention_alarm(attention),
            self._rejection_alarm(),
            self._certificate_alarm(),
        ]
        if settings.proxy_settings.authentication.client_certificates.revocation_lists:
            self.alarms.append(self._revocation_list_alarm())
        self.dashboard = self._dashboard(settings)

    def _count(self, name: str, pattern: str) -> cloudwatch.Metric:
        """How many access-log records hold a text, in the syntax of CloudWatch's filter patterns."""
        metric_filter = logs.MetricFilter(
            self,
            f"{name}Filter",
            log_group=self._log_group,
            metric_namespace=METRICS_NAMESPACE,
            metric_name=name,
            filter_pattern=logs.FilterPattern.literal(pattern),
            metric_value="1",
        )
        return metric_filter.metric(statistic="Sum", period=_FIVE_MINUTES)

    def _unhealthy_target_alarms(self) -> list[cloudwatch.Alarm]:
        return [
            self._alarm(
                f"Unhealthy{side}{route}",
                "Targets fail their load balancer's health checks",
                _target_metric(balancer, group, "UnHealthyHostCount", "Maximum"),
                threshold=1,
                periods=3,
            )
            for side, balancer in self._balancers.items()
            for route, group in balancer.target_groups.items()
        ]

    def _no_healthy_proxy_alarm(self) -> cloudwatch.Alarm:
        balancer = self._balancers["Public"]
        healthy = _target_metric(balancer, balancer.target_groups["Wss"], "HealthyHostCount", "Minimum")
        return self._alarm(
            "NoHealthyProxy",
            "Proxies are wanted and none is healthy: nobody can connect",
            # Before the first deployment no proxy is wanted; without targets there is no count of healthy ones.
            cloudwatch.MathExpression(
                expression="IF(FILL(wanted, 0) > 0 AND FILL(healthy, 0) < 1, 1, 0)",
                using_metrics={"wanted": self._group_metric("GroupDesiredCapacity"), "healthy": healthy},
                label="No healthy proxy",
                period=_MINUTE,
            ),
            threshold=1,
            periods=2,
        )

    def _workflow_alarm(self) -> cloudwatch.Alarm:
        machine = self._state_machine
        return self._alarm(
            "WorkflowFailed",
            "A deployment failed, timed out or was stopped; see its last notification",
            cloudwatch.MathExpression(
                # A sum is nothing where one of its terms has no data.
                expression="FILL(failed, 0) + FILL(timed_out, 0) + FILL(aborted, 0)",
                using_metrics={
                    "failed": machine.metric_failed(statistic="Sum", period=_FIVE_MINUTES),
                    "timed_out": machine.metric_timed_out(statistic="Sum", period=_FIVE_MINUTES),
                    "aborted": machine.metric_aborted(statistic="Sum", period=_FIVE_MINUTES),
                },
                label="Deployments that did not succeed",
                period=_FIVE_MINUTES,
            ),
            threshold=1,
            periods=1,
        )

    def _attention_alarm(self, attention: sqs.Queue) -> cloudwatch.Alarm:
        return self._alarm(
            "NeedsAttention",
            "An image build failed, or a function could not do its work: read the messages in the queue",
            attention.metric_approximate_number_of_messages_visible(statistic="Maximum", period=_FIVE_MINUTES),
            threshold=1,
            periods=1,
        )

    def _rejection_alarm(self) -> cloudwatch.Alarm:
        return self._alarm(
            "RejectionRate",
            f"At least {_REJECTED_PERCENT} % of requests are refused with 403: an attack, or an issuer that changed",
            self._rejection_rate(),
            threshold=_REJECTED_PERCENT,
            periods=3,
        )

    def _rejection_rate(self) -> cloudwatch.MathExpression:
        return cloudwatch.MathExpression(
            expression=f"IF(rejected > {_REJECTIONS_THAT_COUNT}, 100 * rejected / requests, 0)",
            using_metrics={"rejected": self._rejected, "requests": self._requests},
            label="Refused with 403, %",
            period=_FIVE_MINUTES,
        )

    def _certificate_alarm(self) -> cloudwatch.Alarm:
        return self._days_left_alarm(
            "CertificateExpires",
            f"A proxy's certificate expires within {_CERTIFICATE_DAYS} days",
            metric="CertificateDaysLeft",
            days=_CERTIFICATE_DAYS,
        )

    def _revocation_list_alarm(self) -> cloudwatch.Alarm:
        return self._days_left_alarm(
            "RevocationListExpires",
            f"A revocation list ends within {_REVOCATION_LIST_DAYS} days: then no client's certificate is accepted",
            metric="RevocationListDaysLeft",
            days=_REVOCATION_LIST_DAYS,
        )

    def _days_left_alarm(self, name: str, description: str, *, metric: str, days: int) -> cloudwatch.Alarm:
        return self._alarm(
            name,
            description,
            _fleet_metric(metric, "Minimum", cdk.Duration.hours(1)),
            threshold=days,
            periods=1,
            comparison=_Comparison.LESS_THAN_OR_EQUAL_TO_THRESHOLD,
        )

    def _alarm(
        self,
        name: str,
        description: str,
        metric: cloudwatch.IMetric,
        *,
        threshold: float,
        periods: int,
        comparison: cloudwatch.ComparisonOperator = _Comparison.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    ) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_description=description,
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=comparison,
            treat_missing_data=_Missing.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self._failures))
        alarm.add_ok_action(actions.SnsAction(self._failures))
        return alarm

    def _group_metric(self, name: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/AutoScaling",
            metric_name=name,
            dimensions_map={"AutoScalingGroupName": self._proxies.name},
            statistic="Maximum",
            period=_MINUTE,
        )

    def _dashboard(self, settings: ProjectSettings) -> cloudwatch.Dashboard:
        public = self._balancers["Public"].balancer
        connections = [
            _fleet_metric(f"Connections{kind}", "Sum", _MINUTE) for kind in ("Active", "Reading", "Writing", "Waiting")
        ]
        healthy = [
            _target_metric(balancer, group, "HealthyHostCount", "Minimum")
            for balancer in self._balancers.values()
            for group in balancer.target_groups.values()
        ]
        return cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=DASHBOARD,
            default_interval=cdk.Duration.hours(3),
            widgets=[
                [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=self.alarms, width=24, height=3)],
                [
                    _graph("Healthy targets", *healthy, self._group_metric("GroupDesiredCapacity")),
                    _graph("Connections of all proxies", *connections),
                    _graph("Refused with 403", self._rejection_rate(), self._rejected),
                ],
                [
                    _graph("TCP flows", public.metrics.active_flow_count(), public.metrics.new_flow_count()),
                    _graph("Bytes through the public load balancer", public.metrics.processed_bytes()),
                    _graph(
                        "Deployments",
                        self._state_machine.metric_started(),
                        self._state_machine.metric_succeeded(),
                        self._state_machine.metric_failed(),
                    ),
                ],
                [
                    cloudwatch.LogQueryWidget(
                        title="Latest errors",
                        log_group_names=[settings.proxy_settings.proxy_cloudwatch_log_group],
                        query_lines=[
                            "fields @timestamp, @logStream, @message",
                            "filter @logStream like /error\\.log/",
                            "sort @timestamp desc",
                            "limit 50",
                        ],
                        width=24,
                        height=8,
                    )
                ],
            ],
        )


def _target_metric(
    balancer: LoadBalancer, group: elbv2.NetworkTargetGroup, name: str, statistic: str
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/NetworkELB",
        metric_name=name,
        dimensions_map={
            "LoadBalancer": balancer.balancer.load_balancer_full_name,
            "TargetGroup": group.target_group_full_name,
        },
        statistic=statistic,
        period=_MINUTE,
    )


def _fleet_metric(name: str, statistic: str, period: cdk.Duration) -> cloudwatch.Metric:
    """A metric that the proxies report without dimensions: one for the whole fleet."""
    return cloudwatch.Metric(namespace=METRICS_NAMESPACE, metric_name=name, statistic=statistic, period=period)


def _graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8, height=6)
