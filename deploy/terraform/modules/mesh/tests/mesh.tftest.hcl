variables {
  deployment = "domicile"
  nodes = {
    tokyo-1     = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
    tokyo-4     = { number = 4, region = "tokyo", zone = "c", voter = false, addr = "192.0.2.4" }
    singapore-2 = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
    frankfurt-3 = { number = 3, region = "frankfurt", zone = "a", voter = true, addr = "192.0.2.3", port = 17443 }
  }
}

run "a_link_is_open_to_single_addresses_only" {
  command = plan

  assert {
    condition     = alltrue(flatten([for peers in values(output.peers) : [for peer in values(peers) : endswith(peer.cidr, "/32")]]))
    error_message = "A peer is one address."
  }
  assert {
    condition     = output.peers["tokyo"]["frankfurt-3"].port == 17443
    error_message = "The port of a peer is its own."
  }
}

run "a_node_joins_through_voters_and_never_through_itself" {
  command = plan

  assert {
    condition     = [for seed in output.seeds["tokyo-1"] : seed.node] == [2, 3]
    error_message = "Node 1 joins through 2 and 3."
  }
  assert {
    condition     = [for seed in output.seeds["tokyo-4"] : seed.addr] == ["192.0.2.1:7443", "192.0.2.2:7443", "192.0.2.3:17443"]
    error_message = "A follower joins through every voter."
  }
}

run "what_regions_exchange_is_read_back_the_same" {
  command = plan

  assert {
    condition     = jsondecode(output.mesh_json).nodes["singapore-2"].addr == "192.0.2.2" && jsondecode(output.mesh_json).deployment == "domicile"
    error_message = "mesh.json holds the nodes."
  }
}

run "two_nodes_with_one_number_are_refused" {
  command = plan

  variables {
    nodes = {
      a = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
      b = { number = 1, region = "singapore", zone = "a", voter = true, addr = "192.0.2.2" }
    }
  }
  expect_failures = [var.nodes]
}

run "two_nodes_at_one_address_are_refused" {
  command = plan

  variables {
    nodes = {
      a = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.1" }
      b = { number = 2, region = "singapore", zone = "a", voter = true, addr = "192.0.2.1" }
    }
  }
  expect_failures = [var.nodes]
}

run "an_address_that_is_a_network_is_refused" {
  command = plan

  variables {
    nodes = { a = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "192.0.2.0/24" } }
  }
  expect_failures = [var.nodes]
}

run "the_address_of_everybody_is_refused" {
  command = plan

  variables {
    nodes = { a = { number = 1, region = "tokyo", zone = "a", voter = true, addr = "0.0.0.0" } }
  }
  expect_failures = [var.nodes]
}
