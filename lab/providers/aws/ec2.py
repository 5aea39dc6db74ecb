"""EC2: the network that private training needs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lab.providers.aws.kind import (
    AutoName,
    Cloud,
    Kind,
    Values,
    all_tags,
    change_tags,
    changed,
    document,
    facts,
    names,
    present,
    tag_list,
    tag_map,
    tag_outputs,
)

_FULL_ACCESS = {
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]
}


class Ec2Kind(Kind):
    """What EC2's resources share: tags at creation, and ids that one call describes."""

    resource_type: str
    describe: str
    ids: str
    found: str

    def tag_specifications(self, inputs: Values) -> dict[str, Any]:
        """Return the tags as a parameter of a create call."""
        tags = tag_list(all_tags(inputs))
        specification = [{"ResourceType": self.resource_type, "Tags": tags}]
        return {"TagSpecifications": specification} if tags else {}

    def describe_one(self, cloud: Cloud, id_: str) -> Values | None:
        """Return what EC2 says of one id; None where there is none."""
        answer = getattr(cloud.client("ec2"), self.describe)(**{self.ids: [id_]})
        return next(iter(answer[self.found]), None)

    def retag(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        """Bring the tags from old to new."""
        ec2 = cloud.client("ec2")
        change_tags(
            old,
            new,
            lambda tags: ec2.create_tags(Resources=[id_], Tags=tag_list(tags)),
            lambda keys: ec2.delete_tags(Resources=[id_], Tags=[{"Key": key} for key in keys]),
        )


class Vpc(Ec2Kind):
    """A VPC. With it come a route table, a network ACL and a security group."""

    urn_type = "aws:ec2/vpc:Vpc"
    resource_type, describe, ids, found = "vpc", "describe_vpcs", "VpcIds", "Vpcs"
    defaults = facts(enableDnsSupport=True, instanceTenancy="default")
    replace_on = names("cidrBlock ipv4IpamPoolId ipv4NetmaskLength region")
    not_done = names(
        "assignGeneratedIpv6CidrBlock ipv4IpamPoolId ipv4NetmaskLength ipv6CidrBlock "
        "ipv6CidrBlockNetworkBorderGroup ipv6IpamPoolId ipv6NetmaskLength "
        "enableNetworkAddressUsageMetrics"
    )

    def is_replaced(self, path: str, old: Any, new: Any) -> bool:
        """A dedicated VPC may become a default one in place, and not the other way."""
        return super().is_replaced(path, old, new) or (
            path == "instanceTenancy" and new == "dedicated"
        )

    def create(self, cloud: Cloud, inputs: Values) -> str:
        made = cloud.client("ec2").create_vpc(
            CidrBlock=inputs["cidrBlock"],
            InstanceTenancy=inputs["instanceTenancy"],
            **self.tag_specifications(inputs),
        )
        return made["Vpc"]["VpcId"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        ec2 = cloud.client("ec2")
        for name, attribute, before in (
            ("enableDnsSupport", "EnableDnsSupport", True),
            ("enableDnsHostnames", "EnableDnsHostnames", False),
        ):
            wanted = new.get(name, before)
            if wanted != old.get(name, before):
                ec2.modify_vpc_attribute(VpcId=id_, **{attribute: {"Value": wanted}})
        if old and changed(old, new, "instanceTenancy"):
            ec2.modify_vpc_tenancy(VpcId=id_, InstanceTenancy=new["instanceTenancy"])
        self.retag(cloud, id_, old, new)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        vpc = self.describe_one(cloud, id_)
        if vpc is None:
            return None
        ec2 = cloud.client("ec2")

        def attribute(name: str) -> bool:
            found = ec2.describe_vpc_attribute(VpcId=id_, Attribute=name)
            return found[f"{name[0].upper()}{name[1:]}"]["Value"]

        within = [{"Name": "vpc-id", "Values": [id_]}]
        main = [*within, {"Name": "association.main", "Values": ["true"]}]
        acl = [*within, {"Name": "default", "Values": ["true"]}]
        group = [*within, {"Name": "group-name", "Values": ["default"]}]
        tables = ec2.describe_route_tables(Filters=main)["RouteTables"]
        acls = ec2.describe_network_acls(Filters=acl)["NetworkAcls"]
        groups = ec2.describe_security_groups(Filters=group)["SecurityGroups"]
        table_id = tables[0]["RouteTableId"] if tables else ""
        return {
            "arn": cloud.arn("ec2", f"vpc/{id_}"),
            "cidrBlock": vpc["CidrBlock"],
            "instanceTenancy": vpc["InstanceTenancy"],
            "enableDnsSupport": attribute("enableDnsSupport"),
            "enableDnsHostnames": attribute("enableDnsHostnames"),
            "mainRouteTableId": table_id,
            "defaultRouteTableId": table_id,
            "defaultNetworkAclId": acls[0]["NetworkAclId"] if acls else "",
            "defaultSecurityGroupId": groups[0]["GroupId"] if groups else "",
            "dhcpOptionsId": vpc.get("DhcpOptionsId", ""),
            "ownerId": vpc.get("OwnerId", cloud.account_id),
            "ipv6AssociationId": "",
            "ipv6CidrBlock": "",
            "enableNetworkAddressUsageMetrics": False,
            "region": cloud.region,
            **tag_outputs(cloud, tag_map(vpc.get("Tags")), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("ec2").delete_vpc(VpcId=id_)


class Subnet(Ec2Kind):
    """A subnet."""

    urn_type = "aws:ec2/subnet:Subnet"
    resource_type, describe, ids, found = "subnet", "describe_subnets", "SubnetIds", "Subnets"
    defaults = facts(
        assignIpv6AddressOnCreation=False,
        enableDns64=False,
        enableResourceNameDnsAaaaRecordOnLaunch=False,
        enableResourceNameDnsARecordOnLaunch=False,
        ipv6Native=False,
        mapPublicIpOnLaunch=False,
    )
    replace_on = names(
        "vpcId cidrBlock availabilityZone availabilityZoneId ipv6Native outpostArn region "
        "ipv4IpamPoolId ipv6IpamPoolId"
    )
    not_done = names(
        "customerOwnedIpv4Pool enableLniAtDeviceIndex ipv4IpamPoolId ipv4NetmaskLength "
        "ipv6CidrBlock ipv6IpamPoolId ipv6NetmaskLength mapCustomerOwnedIpOnLaunch outpostArn "
        "privateDnsHostnameTypeOnLaunch"
    )

    def create(self, cloud: Cloud, inputs: Values) -> str:
        made = cloud.client("ec2").create_subnet(
            VpcId=inputs["vpcId"],
            CidrBlock=inputs["cidrBlock"],
            **present(
                AvailabilityZone=inputs.get("availabilityZone"),
                AvailabilityZoneId=inputs.get("availabilityZoneId"),
            ),
            **self.tag_specifications(inputs),
        )
        return made["Subnet"]["SubnetId"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if old.get("mapPublicIpOnLaunch", False) != new["mapPublicIpOnLaunch"]:
            cloud.client("ec2").modify_subnet_attribute(
                SubnetId=id_, MapPublicIpOnLaunch={"Value": new["mapPublicIpOnLaunch"]}
            )
        self.retag(cloud, id_, old, new)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        subnet = self.describe_one(cloud, id_)
        if subnet is None:
            return None
        return {
            "arn": cloud.arn("ec2", f"subnet/{id_}"),
            "vpcId": subnet["VpcId"],
            "cidrBlock": subnet["CidrBlock"],
            "availabilityZone": subnet["AvailabilityZone"],
            "availabilityZoneId": subnet.get("AvailabilityZoneId", ""),
            "mapPublicIpOnLaunch": subnet.get("MapPublicIpOnLaunch", False),
            "ownerId": subnet.get("OwnerId", cloud.account_id),
            "ipv6CidrBlockAssociationId": "",
            "privateDnsHostnameTypeOnLaunch": "ip-name",
            "region": cloud.region,
            **tag_outputs(cloud, tag_map(subnet.get("Tags")), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("ec2").delete_subnet(SubnetId=id_)


class RouteTable(Ec2Kind):
    """A route table. The local route is there always and is not listed."""

    urn_type = "aws:ec2/routeTable:RouteTable"
    resource_type, describe = "route-table", "describe_route_tables"
    ids, found = "RouteTableIds", "RouteTables"
    replace_on = names("vpcId region")
    not_done = names("propagatingVgws")
    targets = facts(
        gatewayId="GatewayId",
        natGatewayId="NatGatewayId",
        networkInterfaceId="NetworkInterfaceId",
        transitGatewayId="TransitGatewayId",
        vpcEndpointId="VpcEndpointId",
        vpcPeeringConnectionId="VpcPeeringConnectionId",
        egressOnlyGatewayId="EgressOnlyInternetGatewayId",
    )

    def create(self, cloud: Cloud, inputs: Values) -> str:
        made = cloud.client("ec2").create_route_table(
            VpcId=inputs["vpcId"], **self.tag_specifications(inputs)
        )
        return made["RouteTable"]["RouteTableId"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        ec2 = cloud.client("ec2")
        if "routes" in new:
            before, after = (
                [self._route(each) for each in values.get("routes") or []] for values in (old, new)
            )
            for route in before:
                if route not in after:
                    keys = {name: value for name, value in route.items() if name.startswith("Dest")}
                    ec2.delete_route(RouteTableId=id_, **keys)
            for route in after:
                if route not in before:
                    ec2.create_route(RouteTableId=id_, **route)
        self.retag(cloud, id_, old, new)

    def _route(self, given: Values) -> dict[str, str]:
        return present(
            DestinationCidrBlock=given.get("cidrBlock"),
            DestinationIpv6CidrBlock=given.get("ipv6CidrBlock"),
            DestinationPrefixListId=given.get("destinationPrefixListId"),
            **{member: given.get(name) for name, member in self.targets.items()},
        )

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        table = self.describe_one(cloud, id_)
        if table is None:
            return None
        routes = [
            present(
                cidrBlock=route.get("DestinationCidrBlock"),
                ipv6CidrBlock=route.get("DestinationIpv6CidrBlock"),
                **{name: route.get(member) for name, member in self.targets.items()},
            )
            for route in table["Routes"]
            # neither the local route nor those that gateway endpoints put there
            if route.get("GatewayId") != "local"
            and "DestinationPrefixListId" not in route
            and not str(route.get("GatewayId", "")).startswith("vpce-")
        ]
        return {
            "arn": cloud.arn("ec2", f"route-table/{id_}"),
            "vpcId": table["VpcId"],
            "routes": routes,
            "propagatingVgws": [],
            "ownerId": table.get("OwnerId", cloud.account_id),
            "region": cloud.region,
            **tag_outputs(cloud, tag_map(table.get("Tags")), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("ec2").delete_route_table(RouteTableId=id_)


class RouteTableAssociation(Kind):
    """Which route table a subnet uses."""

    urn_type = "aws:ec2/routeTableAssociation:RouteTableAssociation"
    replace_on = names("subnetId gatewayId region")
    not_done = names("gatewayId")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        made = cloud.client("ec2").associate_route_table(
            RouteTableId=inputs["routeTableId"], SubnetId=inputs["subnetId"]
        )
        return made["AssociationId"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        # EC2 answers a change with a new association id; making it anew is what the id's owner sees
        if old and changed(old, new, "routeTableId"):
            cloud.client("ec2").replace_route_table_association(
                AssociationId=id_, RouteTableId=new["routeTableId"]
            )

    def is_replaced(self, path: str, old: Any, new: Any) -> bool:
        """The id is the association's, so another table means another one here."""
        return path == "routeTableId" or super().is_replaced(path, old, new)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        where = [{"Name": "association.route-table-association-id", "Values": [id_]}]
        tables = cloud.client("ec2").describe_route_tables(Filters=where)["RouteTables"]
        for table in tables:
            for association in table["Associations"]:
                if association["RouteTableAssociationId"] == id_:
                    return {
                        "routeTableId": table["RouteTableId"],
                        "subnetId": association.get("SubnetId"),
                        "region": cloud.region,
                    }
        return None

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("ec2").disassociate_route_table(AssociationId=id_)


class VpcEndpoint(Ec2Kind):
    """A private way to an AWS service: by routes (Gateway) or by network interfaces (Interface)."""

    urn_type = "aws:ec2/vpcEndpoint:VpcEndpoint"
    resource_type, describe = "vpc-endpoint", "describe_vpc_endpoints"
    ids, found = "VpcEndpointIds", "VpcEndpoints"
    defaults = facts(vpcEndpointType="Gateway")
    allowed = facts(vpcEndpointType=("Gateway", "Interface"))
    replace_on = names(
        "vpcId serviceName vpcEndpointType serviceRegion resourceConfigurationArn "
        "serviceNetworkArn region"
    )
    documents = names("policy")
    not_done = names(
        "autoAccept dnsOptions resourceConfigurationArn serviceNetworkArn serviceRegion "
        "subnetConfigurations"
    )

    def create(self, cloud: Cloud, inputs: Values) -> str:
        made = cloud.client("ec2").create_vpc_endpoint(
            VpcId=inputs["vpcId"],
            ServiceName=inputs["serviceName"],
            VpcEndpointType=inputs["vpcEndpointType"],
            **present(
                PolicyDocument=document(inputs["policy"]) if "policy" in inputs else None,
                RouteTableIds=inputs.get("routeTableIds"),
                SubnetIds=inputs.get("subnetIds"),
                SecurityGroupIds=inputs.get("securityGroupIds"),
                PrivateDnsEnabled=inputs.get("privateDnsEnabled"),
            ),
            **self.tag_specifications(inputs),
        )
        return made["VpcEndpoint"]["VpcEndpointId"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if not old:
            return
        request: dict[str, Any] = {}
        for name, part in (
            ("routeTableIds", "RouteTableIds"),
            ("subnetIds", "SubnetIds"),
            ("securityGroupIds", "SecurityGroupIds"),
        ):
            if name in new:
                before, after = set(old.get(name) or ()), set(new[name])
                request |= present(
                    **{
                        f"Add{part}": sorted(after - before),
                        f"Remove{part}": sorted(before - after),
                    }
                )
        if "policy" in new and not self.is_same("policy", old.get("policy"), new["policy"]):
            request["PolicyDocument"] = document(new["policy"])
        if "privateDnsEnabled" in new and changed(old, new, "privateDnsEnabled"):
            request["PrivateDnsEnabled"] = new["privateDnsEnabled"]
        if request:
            cloud.client("ec2").modify_vpc_endpoint(VpcEndpointId=id_, **request)
        self.retag(cloud, id_, old, new)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        endpoint = self.describe_one(cloud, id_)
        if endpoint is None or endpoint["State"].lower() in ("deleted", "deleting"):
            return None
        policy = endpoint.get("PolicyDocument") or json.dumps(_FULL_ACCESS)
        outputs = {
            "arn": cloud.arn("ec2", f"vpc-endpoint/{id_}"),
            "vpcId": endpoint["VpcId"],
            "serviceName": endpoint["ServiceName"],
            "vpcEndpointType": endpoint["VpcEndpointType"],
            "policy": policy if isinstance(policy, str) else json.dumps(policy),
            "privateDnsEnabled": endpoint.get("PrivateDnsEnabled", False),
            "routeTableIds": endpoint.get("RouteTableIds", []),
            "subnetIds": endpoint.get("SubnetIds", []),
            "securityGroupIds": [group["GroupId"] for group in endpoint.get("Groups", [])],
            "networkInterfaceIds": endpoint.get("NetworkInterfaceIds", []),
            "dnsEntries": [
                present(dnsName=entry.get("DnsName"), hostedZoneId=entry.get("HostedZoneId"))
                for entry in endpoint.get("DnsEntries", [])
            ],
            "cidrBlocks": [],
            "ownerId": endpoint.get("OwnerId", cloud.account_id),
            "requesterManaged": endpoint.get("RequesterManaged", False),
            "state": endpoint["State"],
            "region": cloud.region,
            **tag_outputs(cloud, tag_map(endpoint.get("Tags")), state),
        }
        if endpoint["VpcEndpointType"] == "Gateway":
            where = [{"Name": "prefix-list-name", "Values": [endpoint["ServiceName"]]}]
            lists = cloud.client("ec2").describe_prefix_lists(Filters=where)["PrefixLists"]
            outputs["prefixListId"] = lists[0]["PrefixListId"] if lists else ""
        return outputs

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[id_])


class SecurityGroup(Ec2Kind):
    """A security group. Without ``egress`` it lets nothing out: the service's own rule is removed."""

    urn_type = "aws:ec2/securityGroup:SecurityGroup"
    resource_type, describe = "security-group", "describe_security_groups"
    ids, found = "GroupIds", "SecurityGroups"
    auto_name = AutoName("name", 255)
    defaults = facts(description="Managed by Pulumi", revokeRulesOnDelete=False)
    replace_on = names("name namePrefix description vpcId region")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        ec2 = cloud.client("ec2")
        made = ec2.create_security_group(
            GroupName=inputs["name"],
            Description=inputs["description"],
            **present(VpcId=inputs.get("vpcId")),
            **self.tag_specifications(inputs),
        )
        return made["GroupId"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        ec2 = cloud.client("ec2")
        before = old or {"egress": self._rules(self.describe_one(cloud, id_), "Egress", id_)}
        for name, grant, revoke in (
            ("ingress", ec2.authorize_security_group_ingress, ec2.revoke_security_group_ingress),
            ("egress", ec2.authorize_security_group_egress, ec2.revoke_security_group_egress),
        ):
            if name not in new and old:
                continue  # left out: not managed
            had = _permissions(before.get(name) or [], id_)
            wants = _permissions(new.get(name) or [], id_)
            gone = [each for each in had if each not in wants]
            come = [each for each in wants if each not in had]
            if gone:
                revoke(GroupId=id_, IpPermissions=gone)
            if come:
                grant(GroupId=id_, IpPermissions=come)
        self.retag(cloud, id_, old, new)

    def _rules(self, group: Values | None, direction: str, id_: str) -> list[Values]:
        key = "IpPermissionsEgress" if direction == "Egress" else "IpPermissions"
        return _rules((group or {}).get(key) or [], id_)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        group = self.describe_one(cloud, id_)
        if group is None:
            return None
        return {
            "arn": cloud.arn("ec2", f"security-group/{id_}"),
            "name": group["GroupName"],
            "namePrefix": state.get("namePrefix", ""),
            "description": group["Description"],
            "vpcId": group.get("VpcId"),
            "ingress": _like(state.get("ingress"), self._rules(group, "Ingress", id_), id_),
            "egress": _like(state.get("egress"), self._rules(group, "Egress", id_), id_),
            "ownerId": group.get("OwnerId", cloud.account_id),
            "region": cloud.region,
            **tag_outputs(cloud, tag_map(group.get("Tags")), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("ec2").delete_security_group(GroupId=id_)


def _permissions(rules: Iterable[Values], group_id: str) -> list[dict[str, Any]]:
    """Return rules as EC2 takes them, one source each, so that any two lists can be compared."""
    found = []
    for rule in rules:
        protocol = str(rule["protocol"])
        head: dict[str, Any] = {"IpProtocol": "-1" if protocol in ("-1", "all") else protocol}
        if head["IpProtocol"] != "-1":
            head |= {"FromPort": rule["fromPort"], "ToPort": rule["toPort"]}
        about = present(Description=rule.get("description"))
        groups = [*(rule.get("securityGroups") or []), *([group_id] if rule.get("self") else [])]
        for member, key, values in (
            ("IpRanges", "CidrIp", rule.get("cidrBlocks")),
            ("Ipv6Ranges", "CidrIpv6", rule.get("ipv6CidrBlocks")),
            ("PrefixListIds", "PrefixListId", rule.get("prefixListIds")),
            ("UserIdGroupPairs", "GroupId", groups),
        ):
            found += [{**head, member: [{key: value, **about}]} for value in values or []]
    return found


def _rules(permissions: Iterable[Values], group_id: str) -> list[Values]:
    """Return EC2's permissions as rules: those with the same ports and description are one."""
    merged: dict[str, Values] = {}
    for permission in permissions:
        for member, key, name in (
            ("IpRanges", "CidrIp", "cidrBlocks"),
            ("Ipv6Ranges", "CidrIpv6", "ipv6CidrBlocks"),
            ("PrefixListIds", "PrefixListId", "prefixListIds"),
            ("UserIdGroupPairs", "GroupId", "securityGroups"),
        ):
            for source in permission.get(member) or []:
                rule = {
                    "protocol": permission["IpProtocol"],
                    "fromPort": permission.get("FromPort", 0),
                    "toPort": permission.get("ToPort", 0),
                    **present(description=source.get("Description")),
                }
                kept = merged.setdefault(json.dumps(rule, sort_keys=True), rule)
                if source[key] == group_id:
                    kept["self"] = True
                else:
                    kept.setdefault(name, []).append(source[key])
    return list(merged.values())


def _like(state: list[Values] | None, actual: list[Values], group_id: str) -> list[Values]:
    """Return the rules in the state's own grouping where that grants the same."""
    if state and _flat(state, group_id) == _flat(actual, group_id):
        return state
    return actual


def _flat(rules: list[Values], group_id: str) -> list[str]:
    """Return single permissions as text. moto keeps no description of a prefix list's rule."""
    permissions = _permissions(rules, group_id)
    for permission in permissions:
        for source in permission.get("PrefixListIds", []):
            source.pop("Description", None)
    return sorted(json.dumps(permission, sort_keys=True) for permission in permissions)


KINDS: tuple[Kind, ...] = (
    Vpc(),
    Subnet(),
    RouteTable(),
    RouteTableAssociation(),
    VpcEndpoint(),
    SecurityGroup(),
)
