# Network: one subnet with flow logs, cloud services without leaving it, UDP from declared peers only.

resource "google_compute_network" "region" {
  project                 = var.project
  name                    = local.name
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
}

resource "google_compute_subnetwork" "region" {
  project                  = var.project
  name                     = local.name
  network                  = google_compute_network.region.id
  region                   = var.location
  ip_cidr_range            = cidrsubnet(var.network.cidr, 4, 0)
  private_ip_google_access = true

  # Every flow: what an auditor compares with the ledger.
  log_config {
    aggregation_interval = "INTERVAL_5_SEC"
    flow_sampling        = 1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "link" {
  count = length(local.peers) > 0 ? 1 : 0

  project       = var.project
  name          = "${local.name}-link"
  network       = google_compute_network.region.id
  direction     = "INGRESS"
  source_ranges = [for peer in values(local.peers) : peer.cidr]
  target_tags   = [local.name]

  allow {
    protocol = "udp"
    ports    = ["7443"]
  }
  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "clients" {
  count = length(var.network.client_cidrs) > 0 ? 1 : 0

  project       = var.project
  name          = "${local.name}-clients"
  network       = google_compute_network.region.id
  direction     = "INGRESS"
  source_ranges = var.network.client_cidrs
  target_tags   = [local.name]

  allow {
    protocol = "tcp"
    ports    = ["9200", "7280"]
  }
  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "out_link" {
  for_each = local.peers

  project            = var.project
  name               = "${local.name}-to-${each.key}"
  network            = google_compute_network.region.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = [each.value.cidr]
  target_tags        = [local.name]

  allow {
    protocol = "udp"
    ports    = [tostring(each.value.port)]
  }
}

# Google's own services, over the private range.
resource "google_compute_firewall" "out_services" {
  project            = var.project
  name               = "${local.name}-to-services"
  network            = google_compute_network.region.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = ["199.36.153.8/30"]
  target_tags        = [local.name]

  allow {
    protocol = "tcp"
    ports    = ["443"]
  }
}

resource "google_compute_firewall" "out_nothing_else" {
  project            = var.project
  name               = "${local.name}-to-nothing-else"
  network            = google_compute_network.region.id
  direction          = "EGRESS"
  priority           = 65000
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}
