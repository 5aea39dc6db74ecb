"""VPC for training jobs: private subnets, a way to S3, and to other services where asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.arn import bucket_arn, partition


@dataclass(frozen=True, kw_only=True)
class TrainingNetworkArgs:
    """Ranges, zones, and what is reachable. ``subnets`` maps availability zone to range."""

    cidr_block: str
    subnets: Mapping[str, str]
    account_id: str
    region: str
    jobs_security_group_name: str
    endpoints_security_group_name: str
    # By their service's last name, such as ecr.api; each is billed by the hour in each zone.
    interface_endpoints: Sequence[str] = ()
    # Buckets of other accounts that jobs may reach.
    other_buckets: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.subnets:
            raise ValueError("subnets is empty; it must have one range a zone, and a zone at least")


class TrainingNetwork(pulumi.ComponentResource):
    """VPC with no way in and no way to the internet: no gateway, no NAT, no public address.

    Jobs reach S3 through a gateway endpoint, which is free and lets them at this account's buckets
    and those named, not at others. Instances of one job reach each other. Other services are
    reached through interface endpoints, the only thing here that is billed while idle: by the hour,
    each in each zone.
    https://docs.aws.amazon.com/sagemaker/latest/dg/train-vpc.html
    """

    vpc_id: pulumi.Output[str]
    subnet_ids: pulumi.Output[Sequence[str]]
    security_group_ids: pulumi.Output[Sequence[str]]

    def __init__(
        self, name: str, args: TrainingNetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:aws:TrainingNetwork", name, {}, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=args.cidr_block,
            # Both are needed for the endpoints' private names.
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={"Name": name},
            opts=self._child,
        )
        subnets, s3 = self._subnets_and_s3(name, args, vpc)
        jobs = self._jobs_security_group(name, args, vpc, s3)
        if args.interface_endpoints:
            self._interface_endpoints(name, args, vpc, subnets, jobs)
        self.vpc_id = vpc.id
        self.subnet_ids = pulumi.Output.all(*[subnet.id for subnet in subnets])
        self.security_group_ids = pulumi.Output.all(jobs.id)
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "subnet_ids": self.subnet_ids,
                "security_group_ids": self.security_group_ids,
            }
        )

    def _subnets_and_s3(
        self, name: str, args: TrainingNetworkArgs, vpc: aws.ec2.Vpc
    ) -> tuple[list[aws.ec2.Subnet], aws.ec2.VpcEndpoint]:
        # `routes` is left out: the gateway endpoint writes its own route into the table.
        routes = aws.ec2.RouteTable(
            f"{name}-routes", vpc_id=vpc.id, tags={"Name": f"{name}-private"}, opts=self._child
        )
        subnets = []
        for zone, cidr_block in args.subnets.items():
            subnet = aws.ec2.Subnet(
                f"{name}-subnet-{zone}",
                vpc_id=vpc.id,
                availability_zone=zone,
                cidr_block=cidr_block,
                map_public_ip_on_launch=False,
                tags={"Name": f"{name}-{zone}"},
                opts=self._child,
            )
            aws.ec2.RouteTableAssociation(
                f"{name}-routes-{zone}",
                route_table_id=routes.id,
                subnet_id=subnet.id,
                opts=self._child,
            )
            subnets.append(subnet)
        s3 = aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[routes.id],
            policy=json.dumps(s3_endpoint_policy(args)),
            tags={"Name": f"{name}-s3"},
            opts=self._child,
        )
        return subnets, s3

    def _jobs_security_group(
        self, name: str, args: TrainingNetworkArgs, vpc: aws.ec2.Vpc, s3: aws.ec2.VpcEndpoint
    ) -> aws.ec2.SecurityGroup:
        egress = [
            aws.ec2.SecurityGroupEgressArgs(
                description="Instances of one job",
                protocol="-1",
                from_port=0,
                to_port=0,
                self=True,
            ),
            aws.ec2.SecurityGroupEgressArgs(
                description="S3",
                protocol="tcp",
                from_port=443,
                to_port=443,
                prefix_list_ids=[s3.prefix_list_id],
            ),
        ]
        if args.interface_endpoints:
            egress.append(
                aws.ec2.SecurityGroupEgressArgs(
                    description="Interface endpoints",
                    protocol="tcp",
                    from_port=443,
                    to_port=443,
                    cidr_blocks=[args.cidr_block],
                )
            )
        return aws.ec2.SecurityGroup(
            f"{name}-jobs",
            name=args.jobs_security_group_name,
            description="Training jobs",
            vpc_id=vpc.id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    description="Instances of one job",
                    protocol="-1",
                    from_port=0,
                    to_port=0,
                    self=True,
                )
            ],
            egress=egress,
            tags={"Name": f"{name}-jobs"},
            opts=self._child,
        )

    def _interface_endpoints(
        self,
        name: str,
        args: TrainingNetworkArgs,
        vpc: aws.ec2.Vpc,
        subnets: Sequence[aws.ec2.Subnet],
        jobs: aws.ec2.SecurityGroup,
    ) -> None:
        group = aws.ec2.SecurityGroup(
            f"{name}-endpoints",
            name=args.endpoints_security_group_name,
            description="Interface endpoints of training jobs",
            vpc_id=vpc.id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    description="Training jobs",
                    protocol="tcp",
                    from_port=443,
                    to_port=443,
                    security_groups=[jobs.id],
                )
            ],
            tags={"Name": f"{name}-endpoints"},
            opts=self._child,
        )
        for service in args.interface_endpoints:
            aws.ec2.VpcEndpoint(
                f"{name}-{service.replace('.', '-')}",
                vpc_id=vpc.id,
                service_name=f"com.amazonaws.{args.region}.{service}",
                vpc_endpoint_type="Interface",
                subnet_ids=[subnet.id for subnet in subnets],
                security_group_ids=[group.id],
                private_dns_enabled=True,
                tags={"Name": f"{name}-{service}"},
                opts=self._child,
            )


def s3_endpoint_policy(args: TrainingNetworkArgs) -> dict[str, Any]:
    """Return what may pass the gateway: this account's buckets, those named, and ECR's layers.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-minimum-s3-perms
    """
    statements: list[dict[str, Any]] = [
        {
            "Sid": "BucketsOfThisAccount",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"StringEquals": {"s3:ResourceAccount": args.account_id}},
        },
        {
            "Sid": "ImageLayers",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": (
                f"arn:{partition(args.region)}:s3:::prod-{args.region}-starport-layer-bucket/*"
            ),
        },
    ]
    others = [bucket_arn(args.region, name) for name in args.other_buckets]
    if others:
        statements.append(
            {
                "Sid": "NamedBuckets",
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:PutObject"],
                "Resource": [*others, *(f"{arn}/*" for arn in others)],
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}
