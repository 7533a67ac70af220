# What the module plans for one region, with Google's schema and no Google behind it.

mock_provider "google" {
  override_during = plan

  mock_data "google_storage_project_service_account" {
    defaults = { email_address = "storage@example.com" }
  }
  mock_resource "google_compute_address" {
    defaults = { address = "192.0.2.3" }
  }
  mock_resource "google_kms_crypto_key" {
    defaults = { id = "projects/p/locations/europe-west3/keyRings/domicile-frankfurt/cryptoKeys/rest" }
  }
  mock_resource "google_service_account" {
    defaults = { email = "node@example.com" }
  }
}

variables {
  deployment        = "domicile"
  region            = "frankfurt"
  location          = "europe-west3"
  provider_location = "europe-west3"
  project           = "example-project"
  facts = {
    frankfurt = {
      name         = "frankfurt"
      jurisdiction = "DE"
      clouds       = { gcp = ["europe-west3"] }
      retention    = { hot_days = 7, warm_days = 30, cold_days = 365, archive_days = 180 }
      transfers    = []
    }
  }
  nodes = {
    frankfurt-3 = { number = 3, zone = "europe-west3-a", size = "n2-standard-2", voter = true }
  }
  mesh = {
    tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
    singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
    frankfurt-3 = { number = 3, region = "frankfurt", zone = "a", voter = true, addr = "192.0.2.3" }
  }
  network            = { cidr = "10.3.0.0/16" }
  bundles            = { frankfurt = "-----BEGIN CERTIFICATE-----" }
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  artifact           = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  image              = "projects/debian-cloud/global/images/debian-12"
  state              = { cloud = "local" }
}

run "res_001_and_res_002_everything_lies_in_the_one_location" {
  command = plan

  assert {
    condition     = google_kms_key_ring.region.location == "europe-west3" && google_compute_subnetwork.region.region == "europe-west3"
    error_message = "Key and network lie where the region does."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.store : bucket.location == "EUROPE-WEST3"]) && length(google_storage_bucket.store) == 3
    error_message = "Buckets lie where the region does."
  }
  assert {
    condition     = alltrue([for address in google_compute_address.node : address.region == "europe-west3"]) && alltrue([for disk in google_compute_disk.data : disk.zone == "europe-west3-a"]) && alltrue([for node in google_compute_instance.node : node.zone == "europe-west3-a"])
    error_message = "Addresses, disks and machines lie where the region does."
  }
  assert {
    condition     = output.region.location == "europe-west3" && output.region.jurisdiction == "DE"
    error_message = "What is said of the region is what was declared."
  }
}

run "res_003_and_res_004_nothing_is_copied_and_nothing_spans_two_places" {
  command = plan

  assert {
    condition     = alltrue([for bucket in google_storage_bucket.store : length(bucket.custom_placement_config) == 0 && bucket.rpo == null])
    error_message = "A bucket is of one place, and replicated nowhere."
  }
  assert {
    condition     = alltrue([for disk in google_compute_disk.data : length(disk.async_primary_disk) == 0])
    error_message = "A disk follows no other one."
  }
  assert {
    condition     = alltrue([for store in values(output.region.stores) : store.replication == "none" && store.location == "europe-west3"])
    error_message = "What is said of the buckets."
  }
}

run "res_005_the_link_is_open_to_single_peers_and_nobody_else" {
  command = plan

  assert {
    condition     = toset(google_compute_firewall.link[0].source_ranges) == toset(["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"])
    error_message = "Nodes are reached by peers, each by its one address."
  }
  assert {
    condition     = one(google_compute_firewall.link[0].allow).protocol == "udp" && one(google_compute_firewall.link[0].allow).ports[0] == "7443" && length(google_compute_firewall.clients) == 0
    error_message = "Over UDP 7443, and nothing else is open."
  }
  assert {
    condition     = one(google_compute_firewall.out_nothing_else.deny).protocol == "all" && google_compute_firewall.out_nothing_else.direction == "EGRESS" && google_compute_firewall.out_nothing_else.destination_ranges == toset(["0.0.0.0/0"])
    error_message = "Nothing leaves but what a rule before it lets."
  }
  assert {
    condition     = alltrue([for rule in google_compute_firewall.out_link : rule.priority < google_compute_firewall.out_nothing_else.priority]) && length(google_compute_firewall.out_link) == 3
    error_message = "The link leaves for each peer."
  }
}

run "res_005_clients_come_from_declared_ranges" {
  command = plan

  variables {
    network = { cidr = "10.3.0.0/16", client_cidrs = ["10.200.0.0/16"] }
  }
  assert {
    condition     = google_compute_firewall.clients[0].source_ranges == toset(["10.200.0.0/16"]) && toset(one(google_compute_firewall.clients[0].allow).ports) == toset(["9200", "7280"])
    error_message = "The two doors of clients, to their ranges."
  }
}

run "res_005_clients_from_everywhere_are_refused" {
  command = plan

  variables {
    network = { cidr = "10.3.0.0/16", client_cidrs = ["0.0.0.0/0"] }
  }
  expect_failures = [var.network]
}

run "res_007_flow_logs_stay_and_are_whole" {
  command = plan

  assert {
    condition     = google_compute_subnetwork.region.log_config[0].flow_sampling == 1 && google_compute_subnetwork.region.private_ip_google_access
    error_message = "Every flow is logged, and the cloud's services are reached without leaving the network."
  }
}

run "res_008_everything_that_keeps_data_is_under_the_key_of_this_region" {
  command = plan

  assert {
    condition     = alltrue([for bucket in google_storage_bucket.store : one(bucket.encryption).default_kms_key_name == google_kms_crypto_key.region.id])
    error_message = "Buckets are encrypted with the region's key."
  }
  assert {
    condition     = alltrue([for disk in google_compute_disk.data : one(disk.disk_encryption_key).kms_key_self_link == google_kms_crypto_key.region.id])
    error_message = "Data disks are."
  }
  assert {
    condition     = alltrue([for node in google_compute_instance.node : one(node.boot_disk).kms_key_self_link == google_kms_crypto_key.region.id])
    error_message = "Root disks are."
  }
  assert {
    condition     = google_kms_crypto_key.region.rotation_period == "7776000s"
    error_message = "The key turns."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.store : bucket.public_access_prevention == "enforced" && bucket.uniform_bucket_level_access && !bucket.force_destroy])
    error_message = "Buckets are private, and not thrown away with something in them."
  }
}

run "the_ledger_is_locked_and_versions_end" {
  command = plan

  variables {
    retention = { ledger_lock_days = 3650, noncurrent_days = 3 }
  }
  assert {
    condition     = one(google_storage_bucket.store["ledger"].retention_policy).is_locked && tonumber(one(google_storage_bucket.store["ledger"].retention_policy).retention_period) == 3650 * 86400
    error_message = "Nobody can shorten the ledger's time."
  }
  assert {
    condition     = length(google_storage_bucket.store["cold"].retention_policy) == 0
    error_message = "Segments can be erased."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.store : bucket.versioning[0].enabled && anytrue([for rule in bucket.lifecycle_rule : one(rule.condition).days_since_noncurrent_time == 3 && one(rule.action).type == "Delete"])])
    error_message = "Erasure counts on the end of old versions."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.store : one(bucket.soft_delete_policy).retention_duration_seconds == 0])
    error_message = "What is deleted is not kept a second time."
  }
}

run "a_node_may_do_what_it_must_and_no_more" {
  command = plan

  assert {
    condition     = alltrue([for member in google_storage_bucket_iam_member.ledger : contains(["roles/storage.objectCreator", "roles/storage.objectViewer"], member.role)])
    error_message = "Nobody takes from the ledger."
  }
  assert {
    condition     = alltrue([for secret in ["node-crt", "node-key", "server-crt", "server-key"] : contains([for member in google_secret_manager_secret_iam_member.own : member.secret_id], "domicile-frankfurt-frankfurt-3-${secret}")]) && alltrue([for member in google_secret_manager_secret_iam_member.own : startswith(member.secret_id, "domicile-frankfurt-frankfurt-3-")])
    error_message = "A node reads its own secrets."
  }
  assert {
    condition     = alltrue([for node in google_compute_instance.node : node.metadata["block-project-ssh-keys"] == "true" && one(node.shielded_instance_config).enable_secure_boot])
    error_message = "Machines boot what was signed, and nobody logs in by the project's keys."
  }
}

run "no_machine_runs_before_the_mesh_names_it" {
  command = plan

  variables {
    mesh = {}
  }
  assert {
    condition     = length(google_compute_instance.node) == 0 && length(google_compute_address.node) == 1 && length(google_compute_disk.data) == 1
    error_message = "Address and disk come first."
  }
}

run "a_mesh_with_a_strange_address_of_ours_is_refused" {
  command = plan

  variables {
    mesh = {
      tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
      singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
      frankfurt-3 = { number = 3, region = "frankfurt", zone = "a", voter = true, addr = "192.0.2.9" }
    }
  }
  expect_failures = [google_compute_instance.node]
}

run "a_busy_region_tells_somebody" {
  command = plan

  variables {
    alarm_channels = ["projects/example-project/notificationChannels/1"]
    scale_out      = { cpu_percent = 80, minutes = 5 }
  }
  assert {
    condition     = one(one(google_monitoring_alert_policy.busy[0].conditions).condition_threshold).threshold_value == 0.8 && one(one(google_monitoring_alert_policy.busy[0].conditions).condition_threshold).duration == "300s"
    error_message = "Above the percentage, for the minutes."
  }
  assert {
    condition     = google_monitoring_alert_policy.busy[0].notification_channels[0] == "projects/example-project/notificationChannels/1"
    error_message = "Whoever is named is told."
  }
}

run "a_standby_node_is_made_and_left_stopped_and_never_votes" {
  command = plan

  variables {
    nodes = {
      frankfurt-3 = { number = 3, zone = "europe-west3-a", size = "n2-standard-2", voter = false, standby = true }
    }
  }
  assert {
    condition     = google_compute_instance.node["frankfurt-3"].desired_status == "TERMINATED"
    error_message = "It waits."
  }
}

run "a_standby_node_that_votes_is_refused" {
  command = plan

  variables {
    nodes = {
      frankfurt-3 = { number = 3, zone = "europe-west3-a", size = "n2-standard-2", voter = true, standby = true }
    }
  }
  expect_failures = [var.nodes]
}

run "segments_lie_in_the_region_s_bucket" {
  command = plan

  assert {
    condition     = strcontains(module.node_config["frankfurt-3"].node_toml, "[store]\nkind = \"gcs\"\nbucket = \"example-project-domicile-frankfurt-cold\"\nlocation = \"europe-west3\"\narchive_class = \"COLDLINE\"\n")
    error_message = "The node is told its bucket, and what to archive in."
  }
  assert {
    condition     = google_storage_bucket_iam_member.cold_facts["frankfurt-3"].role == "roles/storage.legacyBucketReader" && google_storage_bucket_iam_member.cold["frankfurt-3"].role == "roles/storage.objectUser"
    error_message = "It may ask where the bucket lies, and use it."
  }
  assert {
    condition     = [for rule in google_storage_bucket.store["cold"].lifecycle_rule : "${join(" ", one(rule.condition).matches_prefix)} ${one(rule.action).storage_class}" if one(rule.action).type == "SetStorageClass"] == ["segments/ NEARLINE"]
    error_message = "Segments that are searched change their class, and what is archived is the node's to say."
  }
}

run "a_class_that_is_none_of_the_archive_s_is_refused" {
  command = plan

  variables {
    archive_class = "GLACIER_IR"
  }
  expect_failures = [var.archive_class]
}

run "an_archive_without_a_class_of_its_own" {
  command = plan

  variables {
    archive_class = "none"
  }
  assert {
    condition     = !strcontains(module.node_config["frankfurt-3"].node_toml, "archive_class")
    error_message = "The node is told none."
  }
}

run "load_starts_the_standby_nodes_of_this_location_and_no_other_machine" {
  command = plan

  override_resource {
    target          = google_compute_address.node["frankfurt-6"]
    override_during = plan
    values          = { address = "192.0.2.6" }
  }

  variables {
    nodes = {
      frankfurt-3 = { number = 3, zone = "europe-west3-a", size = "n2-standard-2", voter = true }
      frankfurt-6 = { number = 6, zone = "europe-west3-b", size = "n2-standard-2", voter = false, standby = true }
    }
    mesh = {
      tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
      singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
      frankfurt-3 = { number = 3, region = "frankfurt", zone = "a", voter = true, addr = "192.0.2.3" }
      frankfurt-6 = { number = 6, region = "frankfurt", zone = "b", voter = false, addr = "192.0.2.6" }
    }
  }
  assert {
    condition     = toset(keys(google_compute_instance_iam_member.starter)) == toset(["frankfurt-6"]) && google_compute_instance_iam_member.starter["frankfurt-6"].instance_name == "domicile-frankfurt-frankfurt-6" && google_project_iam_custom_role.starter[0].permissions == toset(["compute.instances.start"])
    error_message = "It may start the standby node, and nothing else."
  }
  assert {
    condition     = jsondecode(google_workflows_workflow.start[0].source_contents).main.steps[2].start.for.in == [{ zone = "europe-west3-b", name = "domicile-frankfurt-frankfurt-6" }] && jsondecode(google_workflows_workflow.start[0].source_contents).main.steps[1].look.switch[0].next == "end"
    error_message = "An incident that is open starts it, and one that ended does not."
  }
  assert {
    condition     = google_workflows_workflow.start[0].region == "europe-west3" && google_eventarc_trigger.busy[0].location == "europe-west3" && tolist(google_pubsub_topic.busy[0].message_storage_policy[0].allowed_persistence_regions) == tolist(["europe-west3"])
    error_message = "All of it lies where the region does."
  }
  assert {
    condition     = length(google_monitoring_alert_policy.busy[0].notification_channels) == 1
    error_message = "The alert tells the topic."
  }
}

run "without_standby_nodes_nothing_can_be_started" {
  command = plan

  assert {
    condition     = length(google_service_account.starter) + length(google_workflows_workflow.start) + length(google_eventarc_trigger.busy) + length(google_pubsub_topic.busy) == 0 && length(google_monitoring_alert_policy.busy[0].notification_channels) == 0
    error_message = "No hook without a node to start."
  }
}
