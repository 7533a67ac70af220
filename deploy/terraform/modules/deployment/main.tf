# Reads the one file that a deployment is written in, and what lies beside it. It makes nothing.

locals {
  dir     = dirname(var.file)
  written = yamldecode(file(var.file))
  facts   = coalesce(var.regions_dir, "${path.module}/../../../../regions")
  pki     = "${local.dir}/${try(local.written.pki, "pki")}"
  mesh    = "${local.dir}/mesh.json"

  regions = {
    for name, region in local.written.regions : name => {
      cloud     = region.cloud
      location  = region.location
      image     = region.image
      network   = region.network
      nodes     = region.nodes
      state     = try(region.state, { cloud = "local" })
      keys      = try(region.keys, null)
      retention = try(region.retention, {})
      copies    = try(region.copies, [])
      exports   = try(region.exports, [])
      scale_out = try(region.scale_out, {})
      labels    = try(region.labels, {})
      cloud_own = try(region[region.cloud], {})

      officer_public_key = trimspace(file("${local.pki}/${name}/officer.pub"))
    }
  }

  # What Terraform would drop in silence where a type does not know it.
  parts = {
    artifact  = ["url", "sha256"]
    network   = ["cidr", "client_cidrs"]
    state     = ["cloud", "location"]
    keys      = ["address", "key_prefix", "mount", "namespace"]
    retention = ["ledger_lock_days", "noncurrent_days", "flow_log_days"]
    scale_out = ["cpu_percent", "minutes"]
    node      = ["number", "zone", "size", "voter", "data_gib", "generation", "standby"]
    aws       = ["bucket_prefix", "alarm_actions", "archive_class"]
    gcp       = ["project", "alarm_channels", "archive_class"]
    azure     = ["subscription_id", "storage_name", "admin_ssh_key", "network_watcher", "archive_class"]
    alicloud  = ["bucket_prefix", "alarm_groups"]
  }

  unknown_keys = concat(
    [for key in keys(local.written) : key if !contains(["deployment", "artifact", "pki", "regions"], key)],
    [for key in keys(local.written.artifact) : "artifact.${key}" if !contains(local.parts.artifact, key)],
    flatten([for name, region in local.written.regions : concat(
      [for key in keys(region) : "regions.${name}.${key}"
      if !contains(["cloud", "location", "image", "network", "nodes", "state", "keys", "retention", "copies", "exports", "scale_out", "labels", region.cloud], key)],
      flatten([for part in ["network", "state", "keys", "retention", "scale_out", region.cloud] : [
        for key in try(keys(region[part]), []) : "regions.${name}.${part}.${key}" if !contains(lookup(local.parts, part, [key]), key)
      ]]),
      flatten([for node, what in region.nodes : [for key in keys(what) : "regions.${name}.nodes.${node}.${key}" if !contains(local.parts.node, key)]]),
    )]),
  )
}
