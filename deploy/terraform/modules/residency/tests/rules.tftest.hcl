# Each rule: at least one plan that passes and one that does not. `run` in deploy/terraform/tests also checks the words.

run "specimen" {
  module {
    source = "./tests/specimen"
  }
}

run "right_regions_pass_every_rule" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = run.specimen.right
    group   = run.specimen.group
  }
}

run "res_001_refuses_a_location_of_another_country" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { location = "us-east1", provider_location = "us-east1", nodes = {}, stores = {}, state = null }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_001]
}

run "res_001_refuses_the_same_id_of_another_cloud" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { singapore = merge(run.specimen.right.singapore, { cloud = "azure" }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_001]
}

run "res_001_refuses_a_jurisdiction_that_the_facts_do_not_state" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { jurisdiction = "US" }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_001]
}

run "res_001_refuses_a_region_without_facts" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { atlantis = run.specimen.right.tokyo })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_001]
}

run "res_001_passes_the_second_location_of_a_region" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { location = "ap-northeast-3", provider_location = "ap-northeast-3", nodes = {}, stores = {} }) })
    group   = run.specimen.group
  }
}

run "res_002_refuses_a_bucket_beside_its_nodes" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { stores = { cold = merge(run.specimen.right.tokyo.stores.cold, { location = "ap-northeast-3", key_location = "ap-northeast-1" }) } }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_002]
}

run "res_002_refuses_a_node_elsewhere" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { nodes = { a = { location = "europe-west4" } } }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_002]
}

run "res_002_passes_nodes_and_stores_in_one_place" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { nodes = { a = { location = "europe-west3" }, b = { location = "europe-west3" } } }) })
    group   = run.specimen.group
  }
}

run "res_003_refuses_replication_to_another_country" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { copies = [{ what = "replication", cloud = "alicloud", location = "ap-southeast-1" }] }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_003]
}

run "res_003_refuses_a_route_that_nobody_has_decided" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.undecided
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { copies = [{ what = "released_aggregates", cloud = "aws", location = "ap-northeast-1" }] }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_003]
}

run "res_003_refuses_a_decided_route_whose_review_is_overdue" {
  command = plan

  variables {
    today   = "2027-06-01"
    facts   = run.specimen.decided
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { copies = [{ what = "released_aggregates", cloud = "aws", location = "ap-northeast-1" }] }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_003]
}

run "res_003_refuses_records_on_a_route_for_aggregates" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.decided
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { copies = [{ what = "snapshot", cloud = "aws", location = "ap-northeast-1" }] }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_003]
}

run "res_003_passes_a_decided_and_current_route" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.decided
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { copies = [{ what = "released_aggregates", cloud = "aws", location = "ap-northeast-1" }] }) })
    group   = run.specimen.group
  }
}

run "res_003_passes_a_backup_in_the_same_country" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { copies = [{ what = "backup", cloud = "aws", location = "ap-northeast-3" }] }) })
    group   = run.specimen.group
  }
}

run "res_004_refuses_a_key_of_many_regions" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { stores = { key = merge(run.specimen.right.tokyo.stores.key, { multi_region = true }) } }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_004]
}

run "res_004_refuses_a_bucket_in_a_continent" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { stores = { cold = merge(run.specimen.right.frankfurt.stores.cold, { location = "EU" }) } }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_004]
}

run "res_004_passes_a_key_of_one_region" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { stores = { key = run.specimen.right.tokyo.stores.key } }) })
    group   = run.specimen.group
  }
}

run "res_005_refuses_the_whole_world" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { ingress = [{ cidr = "0.0.0.0/0", protocol = "udp", port = 7443 }], peer_cidrs = ["0.0.0.0/0"] }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_005]
}

run "res_005_refuses_half_the_world" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { ingress = [{ cidr = "128.0.0.0/1", protocol = "udp", port = 7443 }], peer_cidrs = ["128.0.0.0/1"] }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_005]
}

run "res_005_refuses_the_whole_world_of_ipv6" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { ingress = [{ cidr = "::/0", protocol = "tcp", port = 9200 }], peer_cidrs = ["::/0"] }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_005]
}

run "res_005_refuses_a_stranger" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { ingress = [{ cidr = "198.51.100.9/32", protocol = "udp", port = 7443 }] }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_005]
}

run "res_005_passes_a_declared_peer" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { ingress = [{ cidr = "198.51.100.9/32", protocol = "udp", port = 7443 }], peer_cidrs = ["198.51.100.9/32"] }) })
    group   = run.specimen.group
  }
}

run "res_006_refuses_the_provider_of_another_region" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { provider_location = "asia-northeast1" }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_006]
}

run "res_006_passes_the_provider_of_the_region" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { provider_location = "europe-west3" }) })
    group   = run.specimen.group
  }
}

run "res_007_refuses_a_state_abroad" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { state = { cloud = "aws", location = "us-east-1" } }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_007]
}

run "res_007_refuses_own_logs_sent_abroad" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { exports = [{ what = "metrics", cloud = "aws", location = "ap-northeast-1" }] }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_007]
}

run "res_007_passes_a_state_on_this_machine_and_metrics_at_home" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { frankfurt = merge(run.specimen.right.frankfurt, { state = { cloud = "local", location = "" }, exports = [{ what = "metrics", cloud = "aws", location = "eu-central-1" }] }) })
    group   = run.specimen.group
  }
}

run "res_008_refuses_a_disk_in_the_clear" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { stores = { cold = merge(run.specimen.right.tokyo.stores.cold, { encrypted = false }) } }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_008]
}

run "res_008_refuses_a_key_of_another_region" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { stores = { cold = merge(run.specimen.right.tokyo.stores.cold, { key_location = "ap-northeast-3" }) } }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_008]
}

run "res_008_refuses_a_public_bucket" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { stores = { cold = merge(run.specimen.right.tokyo.stores.cold, { public = true }) } }) })
    group   = run.specimen.group
  }

  expect_failures = [terraform_data.res_008]
}

run "res_008_passes_a_key_of_the_region" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = merge(run.specimen.right, { tokyo = merge(run.specimen.right.tokyo, { stores = { cold = merge(run.specimen.right.tokyo.stores.cold, { key_location = "ap-northeast-1" }) } }) })
    group   = run.specimen.group
  }
}

run "res_009_refuses_two_voters" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = run.specimen.right
    group   = merge(run.specimen.group, { frankfurt-3 = { region = "frankfurt", zone = "a", voter = false, data_class = "metadata" } })
  }

  expect_failures = [terraform_data.res_009]
}

run "res_009_refuses_an_even_number_of_voters" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = run.specimen.right
    group   = merge(run.specimen.group, { osaka-5 = { region = "osaka", zone = "a", voter = true, data_class = "metadata" } })
  }

  expect_failures = [terraform_data.res_009]
}

run "res_009_refuses_two_voters_of_one_region" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = run.specimen.right
    group   = merge(run.specimen.group, { tokyo-4 = { region = "tokyo", zone = "c", voter = true, data_class = "metadata" }, frankfurt-3 = { region = "frankfurt", zone = "a", voter = false, data_class = "metadata" } })
  }

  expect_failures = [terraform_data.res_009]
}

run "res_009_refuses_voters_that_share_a_zone" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = run.specimen.right
    group   = { for id in ["a", "b", "c"] : id => { region = "tokyo", zone = "a", voter = true, data_class = "metadata" } }
  }

  expect_failures = [terraform_data.res_009]
}

run "res_009_refuses_records_in_the_metadata_group" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = run.specimen.right
    group   = merge(run.specimen.group, { tokyo-4 = { region = "tokyo", zone = "c", voter = false, data_class = "raw" } })
  }

  expect_failures = [terraform_data.res_009]
}

run "res_009_passes_one_voter_in_each_of_three_regions" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = run.specimen.right
    group   = run.specimen.group
  }
}

run "res_009_passes_a_plan_without_nodes" {
  command = plan

  variables {
    today   = "2026-11-21"
    facts   = run.specimen.facts
    regions = run.specimen.right
    group   = null
  }
}
