output "deployment" {
  description = "Name of the deployment."
  value       = local.written.deployment

  precondition {
    condition     = length(local.unknown_keys) == 0
    error_message = "${var.file}: nobody knows ${join(", ", local.unknown_keys)}; a misspelt key must not pass in silence."
  }
  precondition {
    condition     = var.region == null ? true : contains(keys(local.written.regions), var.region)
    error_message = "${var.file} speaks of ${join(", ", keys(local.written.regions))}, not of ${coalesce(var.region, "it")}."
  }
  precondition {
    condition     = var.region == null || var.cloud == null ? true : try(local.written.regions[var.region].cloud, var.cloud) == var.cloud
    error_message = "${var.file} puts ${coalesce(var.region, "the region")} on ${try(local.written.regions[var.region].cloud, "?")}; this stack is for ${coalesce(var.cloud, "?")}."
  }
}

output "artifact" {
  description = "The binary: its address and SHA-256."
  value       = local.written.artifact
}

output "regions" {
  description = "By region, the inputs of its cloud's module. `cloud_own` holds what only that cloud knows."
  value       = local.regions
}

output "facts" {
  description = "Facts about every region, decoded."
  value       = { for file in fileset(local.facts, "*.yaml") : trimsuffix(file, ".yaml") => yamldecode(file("${local.facts}/${file}")) }
}

output "bundles" {
  description = "By region, the certificate of its authority."
  value       = { for name in keys(local.written.regions) : name => file("${local.pki}/${name}/ca.crt") }
}

output "mesh" {
  description = "Every node of every region out of `mesh.json`; empty while there is none."
  value       = fileexists(local.mesh) ? jsondecode(file(local.mesh)).nodes : {}
}
