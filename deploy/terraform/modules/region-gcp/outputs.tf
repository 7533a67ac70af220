output "region" {
  description = "What was made, in the form that every cloud's module gives it."
  value = {
    name         = var.region
    jurisdiction = local.fact.jurisdiction
    cloud        = local.cloud
    location     = var.location
    nodes        = { for name, node in var.nodes : name => { number = node.number, zone = node.zone, addr = google_compute_address.node[name].address, runs = contains(keys(local.running), name), secrets = local.secrets[name] } }
    stores       = { for what, bucket in google_storage_bucket.store : what => { name = bucket.name, location = lower(bucket.location), replication = "none" } }
    key          = google_kms_crypto_key.region.id
  }
}

output "mesh_entries" {
  description = "This region's part of `mesh.json`."
  value       = { for name, node in var.nodes : name => { number = node.number, region = var.region, zone = node.zone, voter = node.voter, addr = google_compute_address.node[name].address, port = 7443 } }
}
