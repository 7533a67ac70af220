# What the module plans for one region, with AWS's own provider and no AWS behind it.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_region" {
    defaults = { name = "ap-northeast-1" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_eip" {
    defaults = { public_ip = "192.0.2.1" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:ap-northeast-1:123456789012:key/1" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/node" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { region = "ap-northeast-1", arn = "arn:aws:s3:::domicile" }
  }
}

variables {
  deployment = "domicile"
  region     = "tokyo"
  location   = "ap-northeast-1"
  facts = {
    tokyo = {
      name         = "tokyo"
      jurisdiction = "JP"
      clouds       = { aws = ["ap-northeast-1"] }
      retention    = { hot_days = 7, warm_days = 30, cold_days = 365, archive_days = 180 }
      transfers    = []
    }
  }
  nodes = {
    tokyo-1 = { number = 1, zone = "ap-northeast-1a", size = "m7i.large", voter = true }
  }
  mesh = {
    tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
    singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
    frankfurt-3 = { number = 3, region = "frankfurt", zone = "a", voter = true, addr = "192.0.2.3" }
  }
  network            = { cidr = "10.1.0.0/16" }
  bundles            = { tokyo = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "ami-0"
  state              = { cloud = "local" }
}

run "the_link_is_open_to_single_peers_and_nobody_else" {
  command = plan

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.node : "${rule.ip_protocol} ${rule.from_port} ${rule.cidr_ipv4}"]) == toset(["udp 7443 192.0.2.1/32", "udp 7443 192.0.2.2/32", "udp 7443 192.0.2.3/32"])
    error_message = "Nodes are reached by peers, each by its one address."
  }
}

run "everything_that_keeps_data_is_encrypted_with_a_key_of_this_region_alone" {
  command = plan

  assert {
    condition     = aws_kms_key.region.multi_region == false && aws_kms_key.region.enable_key_rotation
    error_message = "The key is of one region and turned."
  }
  assert {
    condition     = alltrue([for disk in aws_ebs_volume.data : disk.encrypted]) && alltrue([for node in aws_instance.node : node.root_block_device[0].encrypted])
    error_message = "Disks are encrypted."
  }
  assert {
    condition     = alltrue([for block in aws_s3_bucket_public_access_block.store : block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets])
    error_message = "Buckets are private."
  }
}

run "the_ledger_is_locked_and_versions_end" {
  command = plan

  variables {
    retention = { ledger_lock_days = 3650, noncurrent_days = 3 }
  }
  assert {
    condition     = aws_s3_bucket_object_lock_configuration.ledger.rule[0].default_retention[0].mode == "COMPLIANCE" && aws_s3_bucket_object_lock_configuration.ledger.rule[0].default_retention[0].days == 3650
    error_message = "Nobody can shorten the ledger's time."
  }
  assert {
    condition     = alltrue([for rules in aws_s3_bucket_lifecycle_configuration.store : rules.rule[0].noncurrent_version_expiration[0].noncurrent_days == 3])
    error_message = "Erasure counts on the end of old versions."
  }
}

run "machines_answer_for_their_identity_only_with_a_token" {
  command = plan

  assert {
    condition     = alltrue([for node in aws_instance.node : node.metadata_options[0].http_tokens == "required" && node.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "The metadata service asks for a token."
  }
}

run "no_machine_runs_before_the_mesh_names_it" {
  command = plan

  variables {
    mesh = {}
  }
  assert {
    condition     = length(aws_instance.node) == 0 && length(aws_eip.node) == 1 && length(aws_ebs_volume.data) == 1
    error_message = "Address and disk come first."
  }
}

run "a_mesh_with_a_strange_address_of_ours_is_refused" {
  command = plan

  variables {
    mesh = {
      tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.9" }
      singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
      frankfurt-3 = { number = 3, region = "frankfurt", zone = "a", voter = true, addr = "192.0.2.3" }
    }
  }
  expect_failures = [aws_instance.node]
}

run "clients_from_everywhere_are_refused" {
  command = plan

  variables {
    network = { cidr = "10.1.0.0/16", client_cidrs = ["0.0.0.0/0"] }
  }
  expect_failures = [var.network]
}

run "an_alarm_to_another_region_is_refused" {
  command = plan

  variables {
    alarm_actions = ["arn:aws:sns:us-east-1:123456789012:x"]
  }
  expect_failures = [var.alarm_actions]
}

run "the_node_archives_and_the_bucket_does_not" {
  command = plan

  assert {
    condition     = strcontains(module.node_config["tokyo-1"].node_toml, "location = \"ap-northeast-1\"\narchive_class = \"GLACIER_IR\"\n")
    error_message = "The node is told what to archive in."
  }
  assert {
    condition     = flatten([for rule in aws_s3_bucket_lifecycle_configuration.store["cold"].rule : [for move in rule.transition : "${rule.filter[0].prefix} ${move.storage_class}"]]) == ["segments/ STANDARD_IA"]
    error_message = "Segments that are searched change their class, and what is archived is the node's to say."
  }
}

run "a_class_that_has_to_be_thawed_is_refused" {
  command = plan

  variables {
    archive_class = "GLACIER"
  }
  expect_failures = [var.archive_class]
}
