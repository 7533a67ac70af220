output "judged" {
  description = "The regions that were judged, and where they lie."
  value       = { for name, region in var.regions : name => "${region.cloud}/${region.location}" }
}

output "approved_transfers" {
  description = "Routes of the register that somebody has decided and whose review is not overdue, as `from>to>what`."
  value       = local.approved
}
