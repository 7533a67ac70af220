variables {
  file = "./tests/specimen/deployment.yaml"
}

run "the_file_is_read_with_what_lies_beside_it" {
  command = plan

  assert {
    condition     = output.deployment == "specimen" && output.regions["tokyo"].location == "ap-northeast-1"
    error_message = "The file says so."
  }
  assert {
    condition     = output.regions["tokyo"].officer_public_key == "1111111111111111111111111111111111111111111111111111111111111111"
    error_message = "The officer's public key lies beside it."
  }
  assert {
    condition     = output.mesh["tokyo-1"].addr == "192.0.2.1" && length(output.facts) >= 3
    error_message = "mesh.json and the facts are read."
  }
}

run "a_region_that_is_not_in_the_file_is_refused" {
  command = plan

  variables {
    region = "osaka"
  }
  expect_failures = [output.deployment]
}

run "a_stack_of_another_cloud_is_refused" {
  command = plan

  variables {
    region = "tokyo"
    cloud  = "gcp"
  }
  expect_failures = [output.deployment]
}

run "a_misspelt_key_is_refused" {
  command = plan

  variables {
    file = "./tests/specimen/misspelt.yaml"
  }
  expect_failures = [output.deployment]
}

run "a_misspelt_key_of_a_node_is_refused" {
  command = plan

  variables {
    file = "./tests/specimen/misspelt-node.yaml"
  }
  expect_failures = [output.deployment]
}

run "a_misspelt_key_of_a_cloud_s_own_is_refused" {
  command = plan

  variables {
    file = "./tests/specimen/misspelt-cloud.yaml"
  }
  expect_failures = [output.deployment]
}

run "a_misspelt_key_of_a_part_is_refused" {
  command = plan

  variables {
    file = "./tests/specimen/misspelt-part.yaml"
  }
  expect_failures = [output.deployment]
}
