output "node_toml" {
  description = "The node's configuration, for `domicile node --config FILE`."
  value       = local.node_toml
}

output "unit" {
  description = "The systemd unit of the node."
  value       = local.unit
}

output "user_data" {
  description = "cloud-config for the machine's first start. Holds no secret."
  value       = local.user_data

  precondition {
    condition     = length(local.user_data) <= 16384
    error_message = "The user data are ${length(local.user_data)} characters, clouds take 16384: leave `region_files` out where the built-in facts are right."
  }
  precondition {
    condition     = !strcontains(local.user_data, "PRIVATE KEY")
    error_message = "A private key stands in the user data."
  }
}
