# What the module plans for one region, with Alibaba Cloud's schema and no Alibaba Cloud behind it.

mock_provider "alicloud" {
  override_during = plan

  mock_data "alicloud_account" {
    defaults = { id = "1234567890123456" }
  }
  mock_resource "alicloud_eip_address" {
    defaults = { ip_address = "192.0.2.2" }
  }
  mock_resource "alicloud_kms_key" {
    defaults = { id = "key-1" }
  }
  mock_resource "alicloud_vpc" {
    defaults = { id = "vpc-1" }
  }
  mock_resource "alicloud_vswitch" {
    defaults = { id = "vsw-1" }
  }
  mock_resource "alicloud_oss_bucket" {
    defaults = { location = "oss-ap-southeast-1" }
  }
}

variables {
  deployment        = "domicile"
  region            = "singapore"
  location          = "ap-southeast-1"
  provider_location = "ap-southeast-1"
  bucket_prefix     = "domicile-example"
  facts = {
    singapore = {
      name         = "singapore"
      jurisdiction = "SG"
      clouds       = { alicloud = ["ap-southeast-1"] }
      retention    = { hot_days = 7, warm_days = 30, cold_days = 365, archive_days = 180 }
      transfers    = []
    }
  }
  nodes = {
    singapore-2 = { number = 2, zone = "ap-southeast-1a", size = "ecs.g7.large", voter = true }
  }
  mesh = {
    tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
    singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
    frankfurt-3 = { number = 3, region = "frankfurt", zone = "a", voter = true, addr = "192.0.2.3" }
  }
  network            = { cidr = "10.2.0.0/16" }
  bundles            = { singapore = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "debian_12_x64"
  state              = { cloud = "local" }
}

run "res_001_and_res_002_everything_lies_in_the_one_location" {
  command = plan

  assert {
    condition     = alltrue([for disk in alicloud_ecs_disk.data : disk.zone_id == "ap-southeast-1a"]) && toset(keys(alicloud_vswitch.zone)) == toset(["ap-southeast-1a"]) && alltrue([for switch in alicloud_vswitch.zone : switch.zone_id == "ap-southeast-1a"])
    error_message = "Disks and switches lie where the region does."
  }
  assert {
    condition     = alltrue([for node in alicloud_instance.node : node.vswitch_id == alicloud_vswitch.zone["ap-southeast-1a"].id])
    error_message = "Machines do."
  }
  assert {
    condition     = one(one(alicloud_log_store.flows.encrypt_conf).user_cmk_info).region_id == "ap-southeast-1"
    error_message = "Flow logs are encrypted with a key of the region."
  }
  assert {
    condition     = output.region.location == "ap-southeast-1" && output.region.jurisdiction == "SG"
    error_message = "What is said of the region is what was declared."
  }
}

run "res_003_and_res_004_nothing_is_copied_and_nothing_spans_two_places" {
  command = plan

  assert {
    condition     = length(alicloud_oss_bucket.store) == 3 && alltrue([for bucket in alicloud_oss_bucket.store : bucket.redundancy_type == "ZRS" && length(bucket.transfer_acceleration) == 0 && !bucket.force_destroy])
    error_message = "A bucket is of one location, reached over no edge, and not thrown away with something in it."
  }
  assert {
    condition     = alltrue([for store in values(output.region.stores) : store.replication == "none" && store.location == "ap-southeast-1"])
    error_message = "What is said of the buckets."
  }
}

run "res_005_the_link_is_open_to_single_peers_and_nobody_else" {
  command = plan

  assert {
    condition     = toset([for rule in alicloud_security_group_rule.in : "${rule.type} ${rule.policy} ${rule.ip_protocol} ${rule.port_range} ${rule.cidr_ip}"]) == toset([for last in [1, 2, 3] : "ingress accept udp 7443/7443 192.0.2.${last}/32"])
    error_message = "Nodes are reached by peers, each by its one address."
  }
  assert {
    condition     = alicloud_security_group.node.inner_access_policy == "Drop"
    error_message = "Nobody else of the group is trusted."
  }
  assert {
    condition     = alicloud_security_group_rule.out_nothing_else.policy == "drop" && alicloud_security_group_rule.out_nothing_else.cidr_ip == "0.0.0.0/0" && alltrue([for rule in alicloud_security_group_rule.out_link : rule.priority < alicloud_security_group_rule.out_nothing_else.priority && rule.ip_protocol == "udp"]) && length(alicloud_security_group_rule.out_link) == 3
    error_message = "Nothing leaves but the link."
  }
}

run "res_005_clients_come_from_declared_ranges" {
  command = plan

  variables {
    network = { cidr = "10.2.0.0/16", client_cidrs = ["10.200.0.0/16"] }
  }
  assert {
    condition     = toset([for rule in alicloud_security_group_rule.in : "${rule.port_range} ${rule.cidr_ip}" if rule.ip_protocol == "tcp"]) == toset(["9200/9200 10.200.0.0/16", "7280/7280 10.200.0.0/16"])
    error_message = "The two doors of clients, to their ranges."
  }
}

run "res_005_clients_from_everywhere_are_refused" {
  command = plan

  variables {
    network = { cidr = "10.2.0.0/16", client_cidrs = ["0.0.0.0/0"] }
  }
  expect_failures = [var.network]
}

run "res_007_flow_logs_stay_and_are_whole" {
  command = plan

  variables {
    retention = { flow_log_days = 30 }
  }
  assert {
    condition     = alicloud_vpc_flow_log.region.traffic_type == "All" && alicloud_vpc_flow_log.region.resource_type == "VPC" && alicloud_vpc_flow_log.region.project_name == alicloud_log_project.flows.project_name && alicloud_log_store.flows.retention_period == 30
    error_message = "Every flow is logged, in the region."
  }
}

run "res_008_everything_that_keeps_data_is_under_the_key_of_this_region" {
  command = plan

  assert {
    condition     = alltrue([for rule in alicloud_oss_bucket_server_side_encryption.store : rule.sse_algorithm == "KMS" && rule.kms_master_key_id == alicloud_kms_key.region.id]) && length(alicloud_oss_bucket_server_side_encryption.store) == 3
    error_message = "Buckets are encrypted with the region's key."
  }
  assert {
    condition     = alltrue([for disk in alicloud_ecs_disk.data : disk.encrypted && disk.kms_key_id == alicloud_kms_key.region.id && !disk.delete_with_instance]) && alltrue([for node in alicloud_instance.node : node.system_disk_encrypted && node.system_disk_kms_key_id == alicloud_kms_key.region.id])
    error_message = "Disks are, and data disks outlive machines."
  }
  assert {
    condition     = alicloud_kms_key.region.automatic_rotation == "Enabled" && alicloud_kms_key.region.pending_window_in_days == 30
    error_message = "The key turns, and does not vanish at once."
  }
  assert {
    condition     = length(alicloud_oss_bucket_acl.store) == 3 && alltrue([for rule in alicloud_oss_bucket_acl.store : rule.acl == "private"]) && length(alicloud_oss_bucket_public_access_block.store) == 3 && alltrue([for rule in alicloud_oss_bucket_public_access_block.store : rule.block_public_access])
    error_message = "Buckets are private."
  }
  assert {
    condition     = alltrue([for rule in alicloud_oss_bucket_https_config.store : rule.enable]) && alltrue([for rule in alicloud_oss_bucket_policy.store : jsondecode(rule.policy).Statement[0].Effect == "Deny" && jsondecode(rule.policy).Statement[0].Condition.StringNotEquals["acs:SourceVpc"] == ["vpc-1"]]) && toset(keys(alicloud_oss_bucket_policy.store)) == toset(["cold", "ledger"])
    error_message = "They are read from inside the region's network, and over TLS."
  }
}

run "the_ledger_is_locked_and_versions_end" {
  command = plan

  variables {
    retention = { ledger_lock_days = 3650, noncurrent_days = 3 }
  }
  assert {
    condition     = alicloud_oss_bucket_worm.ledger.status == "Locked" && alicloud_oss_bucket_worm.ledger.retention_period_in_days == 3650
    error_message = "Nobody can shorten the ledger's time."
  }
  assert {
    condition     = alltrue([for rule in alicloud_oss_bucket_versioning.store : rule.status == "Enabled"]) && alltrue([for bucket in alicloud_oss_bucket.store : anytrue([for rule in bucket.lifecycle_rule : anytrue([for end in rule.noncurrent_version_expiration : end.days == 3])])])
    error_message = "Erasure counts on the end of old versions."
  }
}

run "a_node_may_do_what_it_must_and_no_more" {
  command = plan

  assert {
    condition     = alltrue([for policy in alicloud_ram_policy.node : alltrue([for said in jsondecode(policy.policy_document).Statement : alltrue([for thing in said.Resource : can(regex("^acs:(oss:oss-ap-southeast-1|kms:ap-southeast-1):", thing))])])])
    error_message = "Every right is one in this region."
  }
  assert {
    condition     = alltrue([for policy in alicloud_ram_policy.node : alltrue([for said in jsondecode(policy.policy_document).Statement : !contains(said.Action, "oss:DeleteObject") if anytrue([for thing in said.Resource : strcontains(thing, "-ledger/")])])])
    error_message = "Nobody takes from the ledger."
  }
  assert {
    condition     = alltrue([for policy in alicloud_ram_policy.node : !strcontains(policy.policy_document, "\"*\"")])
    error_message = "No right is one over everything."
  }
  assert {
    condition     = alltrue([for node in alicloud_instance.node : node.http_tokens == "required" && node.internet_max_bandwidth_out == 0])
    error_message = "The metadata service asks for a token, and the machine has no address of its own."
  }
}

run "no_machine_runs_before_the_mesh_names_it" {
  command = plan

  variables {
    mesh = {}
  }
  assert {
    condition     = length(alicloud_instance.node) == 0 && length(alicloud_eip_address.node) == 1 && length(alicloud_ecs_disk.data) == 1
    error_message = "Address and disk come first."
  }
}

run "a_mesh_with_a_strange_address_of_ours_is_refused" {
  command = plan

  variables {
    mesh = {
      tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
      singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.9" }
      frankfurt-3 = { number = 3, region = "frankfurt", zone = "a", voter = true, addr = "192.0.2.3" }
    }
  }
  expect_failures = [alicloud_instance.node]
}

run "a_busy_node_tells_somebody" {
  command = plan

  variables {
    alarm_groups = ["operators"]
    scale_out    = { cpu_percent = 80, minutes = 5 }
  }
  assert {
    condition     = one(alicloud_cms_alarm.busy["singapore-2"].escalations_warn).threshold == "80" && one(alicloud_cms_alarm.busy["singapore-2"].escalations_warn).times == 5 && alicloud_cms_alarm.busy["singapore-2"].contact_groups[0] == "operators"
    error_message = "Above the percentage, for the minutes, whoever is named."
  }
}

run "load_starts_the_standby_nodes_and_no_other_machine" {
  command = plan

  override_resource {
    target          = alicloud_eip_address.node["singapore-5"]
    override_during = plan
    values          = { ip_address = "192.0.2.6" }
  }

  override_resource {
    target          = alicloud_instance.node["singapore-2"]
    override_during = plan
    values          = { id = "i-2" }
  }
  override_resource {
    target          = alicloud_instance.node["singapore-5"]
    override_during = plan
    values          = { id = "i-5" }
  }
  variables {
    nodes = {
      singapore-2 = { number = 2, zone = "ap-southeast-1a", size = "ecs.g7.large", voter = true }
      singapore-5 = { number = 5, zone = "ap-southeast-1a", size = "ecs.g7.large", voter = false, standby = true }
    }
    mesh = {
      tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
      singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
      frankfurt-3 = { number = 3, region = "frankfurt", zone = "a", voter = true, addr = "192.0.2.3" }
      singapore-5 = { number = 5, region = "singapore", zone = "a", voter = false, addr = "192.0.2.6" }
    }
  }
  assert {
    condition     = jsondecode(alicloud_oos_template.start[0].content).Tasks[0].Properties.Threshold == "70" && jsondecode(alicloud_oos_template.start[0].content).Tasks[0].Properties.Resources == jsonencode([{ instanceId = "i-2" }])
    error_message = "It waits for the load of the running one."
  }
  assert {
    condition     = [for task in jsondecode(alicloud_oos_template.start[0].content).Tasks : task.Name] == ["busy", "start-singapore-5"]
    error_message = "And starts the standby node alone."
  }
  assert {
    condition     = length(jsondecode(alicloud_ram_policy.starter[0].policy_document).Statement[0].Resource) == 1 && alicloud_oos_execution.start[0].template_name == alicloud_oos_template.start[0].template_name
    error_message = "It may start that one."
  }
}

run "without_standby_nodes_nothing_can_be_started" {
  command = plan

  assert {
    condition     = length(alicloud_oos_template.start) + length(alicloud_oos_execution.start) + length(alicloud_ram_role.starter) == 0
    error_message = "No hook without a node to start."
  }
}
