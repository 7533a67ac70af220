output "region" {
  description = "What was made, in the form that every cloud's module gives it."
  value = {
    name         = var.region
    jurisdiction = local.fact.jurisdiction
    cloud        = local.cloud
    location     = var.location
    nodes        = { for name, node in var.nodes : name => { number = node.number, zone = node.zone, addr = alicloud_eip_address.node[name].ip_address, runs = contains(keys(local.running), name), secrets = local.secrets[name] } }
    stores       = { for what, bucket in alicloud_oss_bucket.store : what => { name = bucket.bucket, location = trimprefix(bucket.location, "oss-"), replication = "none" } }
    key          = alicloud_kms_key.region.id
  }
}

output "mesh_entries" {
  description = "This region's part of `mesh.json`."
  value       = { for name, node in var.nodes : name => { number = node.number, region = var.region, zone = node.zone, voter = node.voter, addr = alicloud_eip_address.node[name].ip_address, port = 7443 } }
}
