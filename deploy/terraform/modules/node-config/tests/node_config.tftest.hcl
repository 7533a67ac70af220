variables {
  deployment         = "domicile"
  advertise          = "192.0.2.2:7443"
  voter              = true
  officer_public_key = "0000000000000000000000000000000000000000000000000000000000000000"
  bundles = {
    tokyo     = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    singapore = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"
  }
  seeds       = [{ node = 1, region = "tokyo", addr = "192.0.2.1:7443" }]
  artifact    = { url = "https://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  secrets     = { kind = "aws", ref = "/domicile/singapore/singapore-2" }
  location    = "ap-southeast-1"
  data_device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0"
}

run "the_configuration_names_what_was_declared" {
  command = plan

  assert {
    condition     = strcontains(output.node_toml, "advertise = \"192.0.2.2:7443\"") && strcontains(output.node_toml, "voter = true")
    error_message = "The address and the vote are the declared ones."
  }
  assert {
    condition     = strcontains(output.node_toml, "\"tokyo\" = \"/etc/domicile/bundles/tokyo.crt\"") && strcontains(output.node_toml, "addr = \"192.0.2.1:7443\"")
    error_message = "Bundles and seeds are named."
  }
  assert {
    condition     = !strcontains(output.node_toml, "[keys]") && !strcontains(output.node_toml, "regions_dir")
    error_message = "What was not asked for is not there."
  }
}

run "the_user_data_are_yaml_with_every_file" {
  command = plan

  assert {
    condition = toset([for file in yamldecode(output.user_data).write_files : file.path]) == toset([
      "/etc/domicile/node.toml", "/etc/domicile/prepare.env", "/etc/domicile/bundles/tokyo.crt", "/etc/domicile/bundles/singapore.crt",
      "/etc/systemd/system/domicile.service", "/etc/systemd/system/domicile-prepare.service", "/usr/local/sbin/domicile-prepare",
    ])
    error_message = "The machine gets these files and no other."
  }
  assert {
    condition     = one([for file in yamldecode(output.user_data).write_files : file.content if file.path == "/etc/domicile/node.toml"]) == output.node_toml
    error_message = "What the machine gets is what was shown."
  }
}

run "a_key_store_is_named_with_the_file_of_its_token" {
  command = plan

  variables {
    keys         = { address = "https://vault.singapore.example.com:8200", key = "domicile-singapore-2" }
    region_files = { "singapore.yaml" = "name: singapore\n" }
  }
  assert {
    condition     = strcontains(output.node_toml, "store = \"transit\"") && strcontains(output.node_toml, "token_file = \"/run/domicile/secrets/transit-token\"")
    error_message = "The token lies in memory."
  }
  assert {
    condition     = strcontains(output.node_toml, "regions_dir = \"/etc/domicile/regions\"")
    error_message = "Facts of one's own take the place of the built-in ones."
  }
}

run "a_private_key_among_the_bundles_is_refused" {
  command = plan

  variables {
    bundles = { tokyo = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n" }
  }
  expect_failures = [var.bundles]
}

run "clients_in_the_clear_are_refused_off_loopback" {
  command = plan

  variables {
    listen = { tls = false }
  }
  expect_failures = [var.listen]
}

run "nobodys_address_is_refused" {
  command = plan

  variables {
    advertise = "0.0.0.0:7443"
  }
  expect_failures = [var.advertise]
}

run "a_binary_without_tls_is_refused" {
  command = plan

  variables {
    artifact = { url = "http://example.com/domicile", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  }
  expect_failures = [var.artifact]
}

run "a_key_store_in_the_clear_is_refused" {
  command = plan

  variables {
    keys = { address = "http://vault.example.com", key = "k" }
  }
  expect_failures = [var.keys]
}

run "a_reference_with_a_shell_in_it_is_refused" {
  command = plan

  variables {
    secrets = { kind = "aws", ref = "/domicile/$(reboot)" }
  }
  expect_failures = [var.secrets]
}

run "user_data_that_no_cloud_would_take_are_refused" {
  command = plan

  variables {
    region_files = { "tokyo.yaml" = "name: tokyo\n${join("\n", [for line in range(900) : "# a long comment ${line}"])}" }
  }
  expect_failures = [output.user_data]
}

run "a_bucket_is_named_with_its_place" {
  command = plan

  variables {
    store = { kind = "s3", bucket = "acme-singapore-cold", location = "ap-southeast-1", prefix = "singapore-2" }
  }
  assert {
    condition     = strcontains(output.node_toml, "[store]\nkind = \"s3\"\nbucket = \"acme-singapore-cold\"\nlocation = \"ap-southeast-1\"\nprefix = \"singapore-2\"\n")
    error_message = "The bucket, its place and the node's prefix are the declared ones."
  }
  assert {
    condition     = !strcontains(output.node_toml, "account") && !strcontains(output.node_toml, "vouched")
    error_message = "What was not asked for is not there."
  }
}

run "the_class_of_the_archive_is_told_to_the_node" {
  command = plan

  variables {
    store = { kind = "s3", bucket = "acme-singapore-cold", location = "ap-southeast-1", archive_class = "GLACIER_IR" }
  }
  assert {
    condition     = strcontains(output.node_toml, "location = \"ap-southeast-1\"\narchive_class = \"GLACIER_IR\"\n")
    error_message = "The node archives into this class."
  }
}

run "a_class_that_has_to_be_thawed_is_refused" {
  command = plan

  variables {
    store = { kind = "s3", bucket = "acme-singapore-cold", location = "ap-southeast-1", archive_class = "DEEP_ARCHIVE" }
  }
  expect_failures = [var.store]
}

run "a_class_of_another_cloud_is_refused" {
  command = plan

  variables {
    store = { kind = "azure", account = "acme", bucket = "domicile", location = "ap-southeast-1", archive_class = "COLDLINE" }
  }
  expect_failures = [var.store]
}

run "a_bucket_in_which_creations_do_not_lose_is_refused" {
  command = plan

  variables {
    store = { kind = "s3", cloud = "alicloud", endpoint = "https://s3.oss-ap-southeast-1.aliyuncs.com", bucket = "acme-singapore-cold", location = "ap-southeast-1" }
  }
  expect_failures = [var.store]
}

run "a_bucket_elsewhere_is_refused" {
  command = plan

  variables {
    store = { kind = "s3", bucket = "acme-tokyo-cold", location = "ap-northeast-1" }
  }
  expect_failures = [var.store]
}
