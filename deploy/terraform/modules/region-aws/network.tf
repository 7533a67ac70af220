# Network: one subnet a zone, a locked default group, UDP from declared peers only, cloud services over endpoints, flow logs.

locals {
  zones = sort(distinct([for node in values(var.nodes) : node.zone]))

  ingress = merge(
    { for name, peer in local.peers : "link-${name}" => { cidr = peer.cidr, protocol = "udp", port = 7443 } },
    { for pair in setproduct(var.network.client_cidrs, [9200, 7280]) : "client-${pair[0]}-${pair[1]}" => { cidr = pair[0], protocol = "tcp", port = pair[1] } },
  )
}

resource "aws_vpc" "region" {
  cidr_block           = var.network.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(local.tags, { Name = local.name })
}

# Whatever is put into the network without a group of its own talks to nobody.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.region.id
  tags   = local.tags
}

resource "aws_subnet" "zone" {
  for_each = toset(local.zones)

  vpc_id                  = aws_vpc.region.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.network.cidr, 4, index(local.zones, each.key))
  map_public_ip_on_launch = false
  tags                    = merge(local.tags, { Name = "${local.name}-${each.key}" })
}

resource "aws_internet_gateway" "region" {
  vpc_id = aws_vpc.region.id
  tags   = local.tags
}

resource "aws_route_table" "region" {
  vpc_id = aws_vpc.region.id
  tags   = local.tags

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.region.id
  }
}

resource "aws_route_table_association" "zone" {
  for_each = aws_subnet.zone

  subnet_id      = each.value.id
  route_table_id = aws_route_table.region.id
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.region.id
  service_name      = "com.amazonaws.${var.location}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.region.id]
  tags              = local.tags
}

resource "aws_vpc_endpoint" "service" {
  for_each = toset(["kms", "ssm"])

  vpc_id              = aws_vpc.region.id
  service_name        = "com.amazonaws.${var.location}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [for zone in local.zones : aws_subnet.zone[zone].id]
  security_group_ids  = [aws_security_group.endpoint.id]
  tags                = local.tags
}

resource "aws_security_group" "endpoint" {
  name        = "${local.name}-endpoint"
  description = "Cloud services, from the region's nodes"
  vpc_id      = aws_vpc.region.id
  tags        = local.tags
}

# The simulator loses what a rule without a range is described by, hence no description in a trial.
resource "aws_vpc_security_group_ingress_rule" "endpoint" {
  security_group_id            = aws_security_group.endpoint.id
  description                  = var.trial ? null : "nodes"
  referenced_security_group_id = aws_security_group.node.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_security_group" "node" {
  name        = "${local.name}-node"
  description = "Nodes: link from declared peers, clients from declared ranges"
  vpc_id      = aws_vpc.region.id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "node" {
  for_each = local.ingress

  security_group_id = aws_security_group.node.id
  description       = each.key
  cidr_ipv4         = each.value.cidr
  ip_protocol       = each.value.protocol
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "link" {
  for_each = local.peers

  security_group_id = aws_security_group.node.id
  description       = "link-${each.key}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "udp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "endpoint" {
  security_group_id            = aws_security_group.node.id
  description                  = var.trial ? null : "cloud services of the region"
  referenced_security_group_id = aws_security_group.endpoint.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  security_group_id = aws_security_group.node.id
  description       = var.trial ? null : "object storage of the region"
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# Every accepted and refused flow: what an auditor compares with the ledger.
resource "aws_flow_log" "region" {
  vpc_id               = aws_vpc.region.id
  traffic_type         = "ALL"
  log_destination_type = "s3"
  log_destination      = aws_s3_bucket.store["logs"].arn
  tags                 = local.tags
}
