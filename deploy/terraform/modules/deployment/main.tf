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

  unknown_keys = concat(
    [for key in keys(local.written) : key if !contains(["deployment", "artifact", "pki", "regions"], key)],
    flatten([for name, region in local.written.regions : [
      for key in keys(region) : "regions.${name}.${key}"
      if !contains(["cloud", "location", "image", "network", "nodes", "state", "keys", "retention", "copies", "exports", "scale_out", "labels", region.cloud], key)
    ]]),
  )
}
