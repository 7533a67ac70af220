# What the tests change one thing of: the real facts, and three regions declared as they should be.

terraform {
  required_version = ">= 1.11.0"
}

locals {
  directory = "${path.module}/../../../../../../regions"
  facts     = { for file in fileset(local.directory, "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${local.directory}/${file}")) }
  places = {
    tokyo     = { jurisdiction = "JP", cloud = "aws", location = "ap-northeast-1" }
    singapore = { jurisdiction = "SG", cloud = "alicloud", location = "ap-southeast-1" }
    frankfurt = { jurisdiction = "DE", cloud = "gcp", location = "europe-west3" }
  }
}

output "facts" {
  description = "The files of `regions/`."
  value       = local.facts
}

output "decided" {
  description = "The same, with the route from Frankfurt to Tokyo decided."
  value = merge(local.facts, {
    frankfurt = merge(local.facts.frankfurt, {
      transfers = [{ to = "tokyo", what = "released_aggregates", basis = "adequacy", review_by = "2027-05-31" }]
    })
  })
}

output "undecided" {
  description = "The same, with that route left to somebody who decides."
  value = merge(local.facts, {
    frankfurt = merge(local.facts.frankfurt, {
      transfers = [{ to = "tokyo", what = "released_aggregates", basis = "undecided", review_by = "2027-05-31" }]
    })
  })
}

output "right" {
  description = "Three regions that every rule lets pass."
  value = {
    for name, place in local.places : name => merge(place, {
      provider_location = place.location
      nodes             = { a = { location = place.location } }
      stores = {
        cold = { kind = "bucket", location = place.location, encrypted = true, key_location = place.location, public = false, multi_region = false }
        data = { kind = "disk", location = place.location, encrypted = true, key_location = place.location, public = false, multi_region = false }
        key  = { kind = "key", location = place.location, encrypted = true, key_location = place.location, public = false, multi_region = false }
      }
      copies     = []
      ingress    = [{ cidr = "192.0.2.7/32", protocol = "udp", port = 7443 }]
      peer_cidrs = ["192.0.2.7/32"]
      state      = { cloud = place.cloud, location = place.location }
      exports    = []
    })
  }
}

output "group" {
  description = "One voter in each region, and a node that follows."
  value = {
    tokyo-1     = { region = "tokyo", zone = "a", voter = true, data_class = "metadata" }
    tokyo-4     = { region = "tokyo", zone = "c", voter = false, data_class = "metadata" }
    singapore-2 = { region = "singapore", zone = "a", voter = true, data_class = "metadata" }
    frankfurt-3 = { region = "frankfurt", zone = "a", voter = true, data_class = "metadata" }
  }
}
