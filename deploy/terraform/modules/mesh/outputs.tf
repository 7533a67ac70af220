output "peers" {
  description = "By region, the rows of its firewall: UDP from this `cidr`; `port` is where the peer itself listens."
  value       = local.peers
}

output "seeds" {
  description = "By node, the nodes it may join the metadata group through: `meta.seeds` of its configuration."
  value       = local.seeds
}

output "group" {
  description = "What the residency policy judges (RES-009)."
  value = {
    for name, node in var.nodes : name => { region = node.region, zone = node.zone, voter = node.voter, data_class = "metadata" }
  }
}

output "mesh_json" {
  description = "The file `mesh.json` that regions exchange and review. Addresses and numbers, no secret."
  value       = jsonencode({ deployment = var.deployment, nodes = var.nodes })
}
