# Network: a switch a zone, UDP from declared peers only, flow logs.

locals {
  zones = sort(distinct([for node in values(var.nodes) : node.zone]))
}

resource "alicloud_vpc" "region" {
  vpc_name   = local.name
  cidr_block = var.network.cidr
  tags       = local.tags
}

resource "alicloud_vswitch" "zone" {
  for_each = toset(local.zones)

  vswitch_name = "${local.name}-${each.key}"
  vpc_id       = alicloud_vpc.region.id
  zone_id      = each.key
  cidr_block   = cidrsubnet(var.network.cidr, 4, index(local.zones, each.key))
  tags         = local.tags
}

resource "alicloud_security_group" "node" {
  security_group_name = "${local.name}-node"
  description         = "Nodes: link from declared peers, clients from declared ranges"
  vpc_id              = alicloud_vpc.region.id
  inner_access_policy = "Drop"
  tags                = local.tags
}

resource "alicloud_security_group_rule" "in" {
  for_each = local.ingress

  security_group_id = alicloud_security_group.node.id
  type              = "ingress"
  policy            = "accept"
  ip_protocol       = each.value.protocol
  port_range        = "${each.value.port}/${each.value.port}"
  cidr_ip           = each.value.cidr
  nic_type          = "intranet"
  priority          = 10
}

resource "alicloud_security_group_rule" "out_link" {
  for_each = local.peers

  security_group_id = alicloud_security_group.node.id
  type              = "egress"
  policy            = "accept"
  ip_protocol       = "udp"
  port_range        = "${each.value.port}/${each.value.port}"
  cidr_ip           = each.value.cidr
  nic_type          = "intranet"
  priority          = 10
}

# The cloud's own services inside the region: buckets, keys, the machine's identity.
resource "alicloud_security_group_rule" "out_services" {
  security_group_id = alicloud_security_group.node.id
  type              = "egress"
  policy            = "accept"
  ip_protocol       = "tcp"
  port_range        = "443/443"
  cidr_ip           = "100.64.0.0/10"
  nic_type          = "intranet"
  priority          = 20
}

resource "alicloud_security_group_rule" "out_nothing_else" {
  security_group_id = alicloud_security_group.node.id
  type              = "egress"
  policy            = "drop"
  ip_protocol       = "all"
  port_range        = "-1/-1"
  cidr_ip           = "0.0.0.0/0"
  nic_type          = "intranet"
  priority          = 100
}

resource "alicloud_log_project" "flows" {
  project_name = "${local.name}-flows"
  description  = "Flow logs of ${local.name}: what an auditor compares with the ledger"
  tags         = local.tags
}

resource "alicloud_log_store" "flows" {
  project_name     = alicloud_log_project.flows.project_name
  logstore_name    = "flows"
  retention_period = var.retention.flow_log_days

  encrypt_conf {
    enable       = true
    encrypt_type = "default"
    user_cmk_info {
      cmk_key_id = alicloud_kms_key.region.id
      arn        = "acs:ram::${data.alicloud_account.current.id}:role/aliyunlogdefaultrole"
      region_id  = var.location
    }
  }
}

resource "alicloud_vpc_flow_log" "region" {
  flow_log_name  = local.name
  resource_type  = "VPC"
  resource_id    = alicloud_vpc.region.id
  traffic_type   = "All"
  project_name   = alicloud_log_project.flows.project_name
  log_store_name = alicloud_log_store.flows.logstore_name
  tags           = local.tags
}
