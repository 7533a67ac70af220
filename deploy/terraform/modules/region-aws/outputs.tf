output "region" {
  description = "What was made, in the form that every cloud's module gives it."
  value = {
    name         = var.region
    jurisdiction = local.fact.jurisdiction
    cloud        = local.cloud
    location     = var.location
    nodes        = { for name, node in var.nodes : name => { number = node.number, zone = node.zone, addr = aws_eip.node[name].public_ip, runs = contains(keys(local.running), name), secrets = local.secrets[name] } }
    stores       = { for what, bucket in aws_s3_bucket.store : what => { name = bucket.bucket, location = bucket.region, replication = "none" } }
    key          = aws_kms_key.region.arn
  }
}

output "mesh_entries" {
  description = "This region's part of `mesh.json`."
  value       = { for name, node in var.nodes : name => { number = node.number, region = var.region, zone = node.zone, voter = node.voter, addr = aws_eip.node[name].public_ip, port = 7443 } }
}
