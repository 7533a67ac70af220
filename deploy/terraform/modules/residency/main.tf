# The policy of residency: refuses a plan, and makes nothing in any cloud.
#
# Every rule is a list of breaches, each a sentence that names what is wrong and where; a precondition fails the plan while its
# list is not empty. It judges what is declared, because only that is known at plan time. What a provider really did is judged
# by the modules of the clouds, and what other modules plan by `domicile residency check-plan`.

locals {
  now   = var.today == null ? plantimestamp() : "${var.today}T00:00:00Z"
  known = { for name, region in var.regions : name => region if contains(keys(var.facts), name) }

  # Locations where a region's data may lie, as `cloud/location`: the same id can mean two places.
  allowed = { for name, fact in var.facts : name => flatten([for cloud, places in fact.clouds : [for place in places : "${cloud}/${place}"]]) }
  # By location, the jurisdictions whose regions may use it.
  law_of = { for place in distinct(flatten(values(local.allowed))) : place => distinct([for name, fact in var.facts : fact.jurisdiction if contains(local.allowed[name], place)]) }
  # By location, the regions that may use it.
  regions_at = { for place in distinct(flatten(values(local.allowed))) : place => [for name, places in local.allowed : name if contains(places, place)] }

  # `yamldecode` makes a date a time stamp, hence the cut.
  # Routes that somebody has decided and whose review is not overdue.
  approved = flatten([for name, fact in var.facts : [
    for way in fact.transfers : "${name}>${way.to}>${way.what}"
    if way.basis != "undecided" && way.basis != "" && timecmp("${substr(way.review_by, 0, 10)}T00:00:00Z", local.now) >= 0
  ]])

  # Names of locations that span more than one place, in the language of each cloud.
  spanning = ["global", "us", "eu", "asia", "eur4", "eur5", "eur7", "eur8", "asia1", "nam4", "in", "au", "multi-region", "oss-accelerate"]
}

locals {
  res_001 = concat(
    [for name in keys(var.regions) : "${name}: no file of regions/ speaks of it" if !contains(keys(var.facts), name)],
    [for name, region in local.known : "${name}: declared for ${region.jurisdiction}, its facts say ${var.facts[name].jurisdiction}" if region.jurisdiction != var.facts[name].jurisdiction],
    [for name, region in local.known : "${name}: ${region.cloud}/${region.location} is not among its locations (${join(", ", local.allowed[name])})" if !contains(local.allowed[name], "${region.cloud}/${region.location}")],
  )

  res_002 = concat(
    flatten([for name, region in var.regions : [
      for id, node in region.nodes : "${name}: node ${id} lies in ${node.location}, the region in ${region.location}" if node.location != region.location
    ]]),
    flatten([for name, region in var.regions : [
      for id, store in region.stores : "${name}: ${store.kind} ${id} lies in ${store.location}, the nodes in ${region.location}" if store.location != region.location && !contains(local.spanning, lower(store.location))
    ]]),
  )

  res_003 = flatten([for name, region in local.known : [
    for copy in region.copies : "${name}: ${copy.what} would be copied to ${copy.cloud}/${copy.location}, which is outside ${var.facts[name].jurisdiction}, and no approved and current route allows it"
    if !contains(lookup(local.law_of, "${copy.cloud}/${copy.location}", []), var.facts[name].jurisdiction) &&
    !anytrue([for to in lookup(local.regions_at, "${copy.cloud}/${copy.location}", []) : contains(local.approved, "${name}>${to}>${copy.what}")])
  ]])

  res_004 = flatten([for name, region in var.regions : [
    for id, store in region.stores : "${name}: ${store.kind} ${id} would lie in more than one place"
    if store.multi_region || contains(local.spanning, lower(store.location))
  ]])

  res_005 = concat(
    flatten([for name, region in var.regions : [
      for rule in region.ingress : "${name}: ${rule.protocol} ${rule.port} is open to ${rule.cidr}" if contains(["0", "1", "2", "3", "4", "5", "6", "7"], try(split("/", rule.cidr)[1], "0"))
    ]]),
    flatten([for name, region in var.regions : [
      for rule in region.ingress : "${name}: ${rule.protocol} ${rule.port} is open to ${rule.cidr}, which is no declared peer" if !contains(region.peer_cidrs, rule.cidr)
    ]]),
  )

  res_006 = [
    for name, region in var.regions : "${name}: the provider is configured for ${coalesce(region.provider_location, "?")}, the region is declared in ${region.location}"
    if region.provider_location != null && region.provider_location != region.location
  ]

  res_007 = concat(
    [for name, region in local.known : "${name}: its state would lie in ${region.state.cloud}/${region.state.location}, outside ${var.facts[name].jurisdiction}"
      if region.state == null ? false : !(region.state.cloud == "local" || contains(lookup(local.law_of, "${region.state.cloud}/${region.state.location}", []), var.facts[name].jurisdiction))
    ],
    flatten([for name, region in local.known : [
      for export in region.exports : "${name}: ${export.what} would be sent to ${export.cloud}/${export.location}, outside ${var.facts[name].jurisdiction}"
      if !contains(lookup(local.law_of, "${export.cloud}/${export.location}", []), var.facts[name].jurisdiction)
    ]]),
  )

  res_008 = concat(
    flatten([for name, region in var.regions : [
      for id, store in region.stores : "${name}: ${store.kind} ${id} is not encrypted" if !store.encrypted && store.kind != "key"
    ]]),
    flatten([for name, region in var.regions : [
      for id, store in region.stores : "${name}: ${store.kind} ${id} is encrypted with a key in ${coalesce(store.key_location, "no known place")}"
      if store.encrypted && store.kind != "key" && store.key_location != region.location
    ]]),
    flatten([for name, region in var.regions : [
      for id, store in region.stores : "${name}: ${store.kind} ${id} is public" if store.public
    ]]),
  )

  group  = var.group == null ? {} : var.group
  voters = { for id, node in local.group : id => node if node.voter }
  res_009 = var.group == null ? [] : concat(
    length(local.voters) < 3 ? ["the metadata group has ${length(local.voters)} voters, 3 are needed"] : [],
    length(local.voters) % 2 == 0 ? ["the metadata group has ${length(local.voters)} voters, an even number"] : [],
    length(local.voters) > 1 && length(distinct([for node in values(local.voters) : "${node.region}/${node.zone}"])) == 1 ? ["all voters lie in one zone"] : [],
    [for region, ids in { for id, node in local.voters : node.region => id... } : "${region}: ${join(" and ", ids)} vote, one node of a region may" if length(ids) > 1],
    [for id, node in local.group : "${node.region}: node ${id} would put `${node.data_class}` into the metadata group" if node.data_class != "metadata"],
  )
}

# One resource a rule, so that a test says which rule it means and no other may speak.

resource "terraform_data" "res_001" {
  input = "RES-001"

  lifecycle {
    precondition {
      condition     = length(local.res_001) == 0
      error_message = "RES-001: location outside the jurisdiction: ${join("; ", local.res_001)}."
    }
  }
}

resource "terraform_data" "res_002" {
  input = "RES-002"

  lifecycle {
    precondition {
      condition     = length(local.res_002) == 0
      error_message = "RES-002: not where the nodes are: ${join("; ", local.res_002)}."
    }
  }
}

resource "terraform_data" "res_003" {
  input = "RES-003"

  lifecycle {
    precondition {
      condition     = length(local.res_003) == 0
      error_message = "RES-003: a copy leaves its jurisdiction: ${join("; ", local.res_003)}."
    }
  }
}

resource "terraform_data" "res_004" {
  input = "RES-004"

  lifecycle {
    precondition {
      condition     = length(local.res_004) == 0
      error_message = "RES-004: more than one place: ${join("; ", local.res_004)}."
    }
  }
}

resource "terraform_data" "res_005" {
  input = "RES-005"

  lifecycle {
    precondition {
      condition     = length(local.res_005) == 0
      error_message = "RES-005: open to others than peers: ${join("; ", local.res_005)}."
    }
  }
}

resource "terraform_data" "res_006" {
  input = "RES-006"

  lifecycle {
    precondition {
      condition     = length(local.res_006) == 0
      error_message = "RES-006: provider of another region: ${join("; ", local.res_006)}."
    }
  }
}

resource "terraform_data" "res_007" {
  input = "RES-007"

  lifecycle {
    precondition {
      condition     = length(local.res_007) == 0
      error_message = "RES-007: state or export outside the jurisdiction: ${join("; ", local.res_007)}."
    }
  }
}

resource "terraform_data" "res_008" {
  input = "RES-008"

  lifecycle {
    precondition {
      condition     = length(local.res_008) == 0
      error_message = "RES-008: not encrypted with a key of the region: ${join("; ", local.res_008)}."
    }
  }
}

resource "terraform_data" "res_009" {
  input = "RES-009"

  lifecycle {
    precondition {
      condition     = length(local.res_009) == 0
      error_message = "RES-009: the metadata group: ${join("; ", local.res_009)}."
    }
  }
}
